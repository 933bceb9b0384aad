"""MTA-STS policies fetched, kept, renewed: what counts when, and that nobody on the way can make it count less."""

import asyncio

import pytest

from relay import policies
from relay.errors import DnsFault, RelayError
from relay.https import Answer as Page
from relay.policies import Policies
from relay.records import Answer
from relay.tokenstore import TokenStore
from tests.unit.test_tlsa import of

DAY = 86400.0
TEXT = b"version: STSv1\nmode: enforce\nmx: mx.a.test\nmax_age: 864000\n"


class World:
    """A domain a.test: its record, its page, the time; a new `start` is a restart."""

    def __init__(self, folder):
        self.folder, self.now, self.fetched = folder, 1e9, []
        self.record = of("_mta-sts.a.test", b"v=STSv1; id=1")
        self.page = Page(200, {"content-type": "text/plain; charset=utf-8"}, TEXT)
        self.addresses = of("mta-sts.a.test", "192.0.2.7")
        self.start()

    def start(self):
        self.policies = Policies(
            TokenStore(self.folder, "MTA-STS policies"), lambda: self, self.fetch, lambda: self.now
        )

    async def ask(self, name, kind):
        known = {("_mta-sts.a.test", "TXT"): self.record, ("mta-sts.a.test", "A"): self.addresses}
        answer = known.get((name, kind), Answer(name, exists=False))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def fetch(self, url, at):
        self.fetched.append((url, tuple(at)))
        if isinstance(self.page, Exception):
            raise self.page
        return self.page

    def mode(self, domain="a.test"):
        found = asyncio.run(self.policies.of(domain))
        return found.mode if found else None


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "mta-sts")


def test_a_policy_is_fetched_once_and_outlasts_a_restart(world):
    assert [world.mode() for _ in range(3)] == ["enforce"] * 3
    assert world.fetched == [("https://mta-sts.a.test/.well-known/mta-sts.txt", ("192.0.2.7",))]
    world.page = RelayError("gone")
    world.start()
    assert world.mode() == "enforce"
    assert len(world.fetched) == 1
    assert (world.folder.stat().st_mode & 0o777, [f.stat().st_mode & 0o777 for f in world.folder.iterdir()]) == (
        0o700,
        [0o600],
    )


def test_a_domain_without_a_record_is_never_fetched_from(world):
    assert world.mode("b.test") is None
    assert world.fetched == []


@pytest.mark.parametrize(
    "record", [of("x"), Answer("x", exists=False), DnsFault("SERVFAIL"), of("x", b"v=STSv1; id=!"), of("x", b"v=spf1")]
)
def test_who_takes_the_record_away_takes_nothing_away(world, record):
    """RFC 8461 3.3 and 10.2: a policy that is kept counts until its time is over."""
    assert world.mode() == "enforce"
    world.record, world.page = record, RelayError("unreachable")
    world.start()
    assert world.mode() == "enforce"
    world.now += 10 * DAY - 1
    assert world.mode() == "enforce"
    world.now += 2
    assert world.mode() is None


FAULTS = {
    "no web server": RelayError("mta-sts.a.test: Connection refused"),
    "another certificate": RelayError("mta-sts.a.test: certificate not accepted"),
    "not found": Page(404, {"content-type": "text/plain"}, TEXT),
    "a redirect": Page(301, {"content-type": "text/plain", "location": "https://evil.test/"}, TEXT),
    "a page of HTML": Page(200, {"content-type": "text/html"}, TEXT),
    "no type": Page(200, {}, TEXT),
    "nonsense": Page(200, {"content-type": "text/plain"}, b"mode: enforce"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_new_policy_that_can_not_be_had_leaves_the_old_one(world, name, caplog):
    assert world.mode() == "enforce"
    world.record, world.page = of("x", b"v=STSv1; id=2"), FAULTS[name]
    with caplog.at_level("INFO"):
        assert [world.mode() for _ in range(5)] == ["enforce"] * 5
    assert len(world.fetched) == 2, "not again for some minutes"
    assert "the MTA-STS policy of a.test can not be had: " in caplog.text
    assert "the one of before counts" in caplog.text
    world.page = Page(200, {"content-type": "text/plain"}, TEXT.replace(b"enforce", b"none"))
    world.now += policies.PAUSE
    assert world.mode() is None
    assert len(world.fetched) == 3
    world.start()
    assert (world.mode(), len(world.fetched)) == (None, 3), "none is kept as well"


@pytest.mark.parametrize("name", FAULTS)
def test_with_nothing_kept_there_is_no_policy(world, name, caplog):
    world.page = FAULTS[name]
    with caplog.at_level("INFO"):
        assert (world.mode(), world.mode(), len(world.fetched)) == (None, None, 1)
    assert "there is none of before" in caplog.text


def test_a_host_without_an_address_and_dns_without_an_answer(world):
    world.addresses = of("mta-sts.a.test")
    assert world.mode() is None
    world.addresses, world.now = DnsFault("SERVFAIL"), world.now + policies.PAUSE
    assert world.mode() is None
    assert world.fetched == []


def test_half_of_its_life_over_it_is_fetched_anew_so_that_it_never_lapses(world):
    assert world.mode() == "enforce"
    world.now += 5 * DAY
    assert (world.mode(), len(world.fetched)) == ("enforce", 2)
    world.now += 4 * DAY
    assert (world.mode(), len(world.fetched)) == ("enforce", 2)


def test_many_mails_ask_once(world):
    async def story():
        return await asyncio.gather(*(world.policies.of("a.test") for _ in range(20)))

    assert len({id(p) for p in asyncio.run(story())}) == 1
    assert len(world.fetched) == 1


def test_testing_is_told_as_such_and_a_damaged_file_is_none(world):
    world.page = Page(200, {"content-type": "text/plain"}, TEXT.replace(b"enforce", b"testing"))
    assert world.mode() == "testing"
    [file] = world.folder.iterdir()
    file.write_bytes(b"{broken")
    world.start()
    assert (world.mode(), len(world.fetched)) == ("testing", 2)
    file.chmod(0o644)
    world.start()
    assert (world.mode(), len(world.fetched)) == ("testing", 3), "others could have written it"


def test_only_so_many_domains_are_remembered(world, monkeypatch):
    monkeypatch.setattr(policies, "KNOWN", 3)
    for number in range(10):
        world.mode(f"d{number}.test")
    assert len(world.policies._domains) == 3
