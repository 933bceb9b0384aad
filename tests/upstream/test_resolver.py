"""What DNS says, asked of a scripted name server over the wire: bounded in count and time, and never believed too much."""

import asyncio
import time

import pytest

from relay import resolver
from relay.errors import DnsFault
from relay.records import Answer, DnsOptions, Mx, Nameserver, Srv, Tlsa
from relay.resolver import Resolver
from tests.nameserver import DRIP, GARBAGE, REFUSED, SERVFAIL, SILENCE, Zone, serving


def asked(zone, *questions, timeout=2.0, pause=0.0):
    """The answers to these questions, one after the other; a fault's words where there is none."""

    async def story():
        made = Resolver(DnsOptions((Nameserver("127.0.0.1", zone.port),), timeout))
        found = []
        for question in questions:
            try:
                found.append(await made.ask(*question))
            except DnsFault as fault:
                found.append(str(fault))
            await asyncio.sleep(pause)
        await made.close()
        return found

    return asyncio.run(story())


def test_each_kind_of_record():
    zone = Zone(
        {
            ("a.test", "MX"): ["10 mx1.a.test.", "0 ."],
            ("a.test", "A"): ["192.0.2.1", "192.0.2.2"],
            ("a.test", "AAAA"): ["2001:db8::1"],
            ("_submissions._tcp.a.test", "SRV"): ["1 2 465 smtp.a.test.", "0 0 0 ."],
            ("_25._tcp.mx1.a.test", "TLSA"): ["3 1 0 00ff"],
            ("a.test", "TXT"): ['"one " "two"', '"three"'],
        }
    )
    with serving(zone):
        mx, a, aaaa, srv, tlsa, txt, nothing, nobody = asked(
            zone,
            ("a.test", "MX"),
            ("A.Test.", "A"),
            ("a.test", "AAAA"),
            ("_submissions._tcp.a.test", "SRV"),
            ("_25._tcp.mx1.a.test", "TLSA"),
            ("a.test", "TXT"),
            ("a.test", "SRV"),
            ("b.test", "MX"),
        )
    assert set(mx.records) == {Mx(10, "mx1.a.test"), Mx(0, "")}
    assert set(a.records) == {"192.0.2.1", "192.0.2.2"}
    assert aaaa.records == ("2001:db8::1",)
    assert set(srv.records) == {Srv(1, 2, 465, "smtp.a.test"), Srv(0, 0, 0, "")}
    assert tlsa.records == (Tlsa(3, 1, 0, b"\0\xff"),)
    assert set(txt.records) == {b"one two", b"three"}
    assert nothing == Answer("a.test"), "no such record is an answer"
    assert nobody == Answer("b.test", exists=False)


@pytest.mark.parametrize("follows", [True, False])
def test_aliases_are_followed_whoever_follows_them(follows):
    zone = Zone(
        {("a.test", "CNAME"): ["b.test."], ("b.test", "CNAME"): ["c.test."], ("c.test", "MX"): ["5 mx.test."]},
        follows=follows,
    )
    with serving(zone):
        mx, none = asked(zone, ("a.test", "MX"), ("a.test", "A"))
    assert (mx.name, mx.records) == ("c.test", (Mx(5, "mx.test"),))
    assert (none.name, none.records, none.exists) == ("c.test", (), True)


@pytest.mark.parametrize("follows", [True, False])
def test_aliases_without_end_are_a_fault(follows):
    zone = Zone({("a.test", "CNAME"): ["b.test."], ("b.test", "CNAME"): ["a.test."]}, follows=follows)
    with serving(zone):
        [said] = asked(zone, ("a.test", "MX"))
    assert isinstance(said, str)
    assert len(zone.asked) < 50


def test_an_alias_to_nowhere_is_no_name():
    zone = Zone({("a.test", "CNAME"): ["b.test."]})
    with serving(zone):
        [said] = asked(zone, ("a.test", "MX"))
    assert (said.exists, said.records) == (False, ())


def test_only_so_many_records_are_read():
    names = [f"{n} mx{n}.a.test." for n in range(500)]
    zone = Zone({("a.test", "MX"): names})
    with serving(zone):
        [said] = asked(zone, ("a.test", "MX"))
    assert zone.over_tcp == 1, "what is cut short over UDP is asked for over TCP"
    assert len(said.records) == resolver.MOST_RECORDS


@pytest.mark.parametrize(
    "fault, words",
    [
        (SERVFAIL, "MX of a.test: the resolver answers SERVFAIL"),
        (REFUSED, "MX of a.test: the resolver answers REFUSED"),
        (SILENCE, "MX of a.test: no resolver has answered within 0.3 s"),
    ],
)
def test_a_resolver_that_fails_is_a_fault_within_its_time(fault, words):
    zone = Zone({("a.test", "MX"): fault})
    with serving(zone):
        began = time.monotonic()
        assert asked(zone, ("a.test", "MX"), timeout=0.3) == [words]
    assert time.monotonic() - began < 3


def test_garbage_and_dripping_are_faults_too():
    big = [f"{n} mx{n}.a.test." for n in range(200)]
    zone = Zone({("a.test", "MX"): GARBAGE, ("b.test", "MX"): big})
    with serving(zone):
        [garbage] = asked(zone, ("a.test", "MX"), timeout=0.5)
        assert isinstance(garbage, str)
        assert garbage.isprintable()
        drips, tcp = zone.answer, zone.over_tcp

        def drip_over_tcp(wire, limit):
            return drips(wire, limit) if limit else DRIP

        zone.answer = drip_over_tcp
        began = time.monotonic()
        [dripped] = asked(zone, ("b.test", "MX"), timeout=0.5)
        assert dripped == "MX of b.test: no resolver has answered within 0.5 s"
        assert zone.over_tcp > tcp
        assert time.monotonic() - began < 3


def test_nobody_listens_there():
    with serving(Zone()) as zone:
        pass
    began = time.monotonic()
    [said] = asked(zone, ("a.test", "MX"), timeout=0.5)
    assert said.startswith("MX of a.test: ")
    assert time.monotonic() - began < 3


def test_no_resolver_is_known_at_all(tmp_path):
    async def story():
        with pytest.raises(DnsFault, match=r"MX of a\.test: "):
            await Resolver(DnsOptions(), str(tmp_path / "resolv.conf")).ask("a.test", "MX")

    asyncio.run(story())


# --- what it is believed ---------------------------------------------------------------------------


@pytest.mark.parametrize("proven", [True, False])
def test_authentic_is_what_a_validating_resolver_on_this_host_has_proved(proven):
    zone = Zone({("a.test", "MX"): ["5 mx.test."]}, proven=proven)
    with serving(zone):
        found = asked(zone, *[("a.test", "MX"), ("a.test", "TXT"), ("b.test", "MX")] * 2)
    assert [one.authentic for one in found] == [proven] * 6, "from the cache as well"


def test_the_word_of_a_resolver_elsewhere_proves_nothing(monkeypatch):
    zone = Zone({("a.test", "MX"): ["5 mx.test."]}, proven=True)
    monkeypatch.setattr(resolver, "_is_loopback", lambda address: False)
    with serving(zone):
        found = asked(zone, ("a.test", "MX"), ("b.test", "MX"))
    assert [one.authentic for one in found] == [False, False]
    monkeypatch.undo()
    assert [resolver._is_loopback(a) for a in ("127.0.0.53", "::1", "192.0.2.1", "fe80::1%eth0")] == [
        True,
        True,
        False,
        False,
    ]


def test_one_unproven_alias_makes_all_of_it_unproven():
    zone = Zone({("a.test", "CNAME"): ["b.test."], ("b.test", "A"): ["192.0.2.1"]}, follows=False)
    with serving(zone):
        real = zone.answer

        def proves_the_end_only(wire, limit):
            zone.proven = bool(zone.asked)
            return real(wire, limit)

        zone.answer = proves_the_end_only
        [said] = asked(zone, ("a.test", "A"))
    assert (said.records, said.authentic) == (("192.0.2.1",), False)


# --- what it costs ---------------------------------------------------------------------------------


def test_an_answer_is_kept_for_its_time():
    zone = Zone({("a.test", "MX"): ["5 mx.test."]})
    with serving(zone):
        asked(zone, *[("a.test", "MX"), ("b.test", "MX")] * 3)
    assert sorted(zone.asked) == [("a.test", "MX")] + [("b.test", "MX")] * zone.asked.count(("b.test", "MX"))


def test_equal_questions_wait_together_and_one_who_leaves_takes_no_other_along():
    async def story(zone):
        made = Resolver(DnsOptions((Nameserver("127.0.0.1", zone.port),), 2.0))
        real = zone.answer

        def slowly(wire, limit):
            time.sleep(0.3)
            return real(wire, limit)

        zone.answer = slowly
        asking = [asyncio.create_task(made.ask("a.test", "MX")) for _ in range(30)]
        await asyncio.sleep(0.1)
        asking[0].cancel()
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert [one.records for one in found[1:]] == [(Mx(5, "mx.test"),)] * 29
        assert zone.asked == [("a.test", "MX")]
        await made.close()

    with serving(Zone({("a.test", "MX"): ["5 mx.test."]})) as zone:
        asyncio.run(story(zone))


def test_promise_7_a_question_without_an_answer_is_not_asked_by_every_mail(monkeypatch):
    zone = Zone({("a.test", "MX"): SERVFAIL})
    with serving(zone):
        said = asked(zone, *[("a.test", "MX")] * 20)
        assert len(set(said)) == 1
        assert len(zone.asked) == 1
        monkeypatch.setattr(resolver, "PAUSE", 0.0)
        asked(zone, *[("a.test", "MX")] * 3)
        assert len(zone.asked) == 4, "without the pause each of them asks"


def test_promise_7_a_silent_resolver_is_found_out_by_few():
    zone = Zone({(f"a{n}.test", "MX"): SILENCE for n in range(50)})
    with serving(zone):
        began = time.monotonic()
        said = asked(zone, *((f"a{n}.test", "MX") for n in range(50)), timeout=0.2)
    assert all(isinstance(one, str) for one in said)
    assert len({name for name, _ in zone.asked}) == resolver.SILENT
    assert time.monotonic() - began < 5, "not 50 times the limit"


def test_a_resolver_that_speaks_again_is_asked_again(monkeypatch):
    monkeypatch.setattr(resolver, "SILENCE", 0.3)
    silent = {(f"a{n}.test", "MX"): SILENCE for n in range(4)}
    zone = Zone({**silent, ("b.test", "MX"): ["5 mx.test."], ("c.test", "MX"): ["5 mx.test."]})

    async def story():
        made = Resolver(DnsOptions((Nameserver("127.0.0.1", zone.port),), 0.2))
        for n in range(4):
            with pytest.raises(DnsFault):
                await made.ask(f"a{n}.test", "MX")
        with pytest.raises(DnsFault, match="no resolver answers, the next question is asked in some seconds"):
            await made.ask("b.test", "MX")
        await asyncio.sleep(0.4)
        assert (await made.ask("b.test", "MX")).records
        assert (await made.ask("c.test", "MX")).records
        await made.close()

    with serving(zone):
        asyncio.run(story())


def test_the_systems_resolvers_are_read_anew_when_they_change(tmp_path):
    system = tmp_path / "resolv.conf"
    system.write_text("nameserver 192.0.2.1\n")
    made = Resolver(DnsOptions(), str(system))
    assert [str(server) for server in made._resolver().nameservers] == ["192.0.2.1"]
    first = made._resolver()
    assert made._resolver() is first, "unchanged, it is kept, and with it the answers"
    system.write_text("nameserver 192.0.2.1\nnameserver 2001:db8::1\n")
    assert [str(server) for server in made._resolver().nameservers] == ["192.0.2.1", "2001:db8::1"]


def test_on_uvloop_as_well():
    uvloop = pytest.importorskip("uvloop")
    names = [f"{n} mx{n}.a.test." for n in range(100)]
    zone = Zone({("a.test", "MX"): names, ("b.test", "A"): ["192.0.2.1"]})

    async def story():
        made = Resolver(DnsOptions((Nameserver("127.0.0.1", zone.port),), 2.0))
        assert (await made.ask("b.test", "A")).records == ("192.0.2.1",)
        assert len((await made.ask("a.test", "MX")).records) == resolver.MOST_RECORDS
        await made.close()

    with serving(zone):
        uvloop.run(story())


def test_so_many_questions_at_once_and_none_waits_for_a_resolver_that_is_silent(monkeypatch):
    monkeypatch.setattr(resolver, "AT_ONCE", 4)
    names = [f"d{number}.test" for number in range(40)]

    async def story():
        under_way = most = 0

        async def followed(self, name, kind):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            try:
                await asyncio.sleep(0.01 if answers else 60)
            finally:
                under_way -= 1
            return Answer(name)

        monkeypatch.setattr(Resolver, "_followed", followed)
        for answers in (True, False):
            made = Resolver(DnsOptions((Nameserver("127.0.0.1", 9),), -0.8))
            began = time.monotonic()
            found = await asyncio.gather(*(made.ask(name, "A") for name in names), return_exceptions=True)
            assert most == 4
            assert all(isinstance(one, Answer if answers else DnsFault) for one in found)
            assert time.monotonic() - began < 1.5
            await made.close()

    asyncio.run(story())
