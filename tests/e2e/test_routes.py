"""A daemon whose mail parts: by [route:NAME], by direct delivery, domain by domain; and what its administrator sees of it."""

import json

import pytest

from tests.e2e.tools import until
from tests.nameserver import SILENCE, Zone, serving

MAIL = b"From: t@a.test\r\nTo: eve@a.test\r\nSubject: %s\r\n\r\nx\r\n"


@pytest.fixture
def zone():
    records = {
        ("direct.test", "MX"): ["5 gone.direct.test.", "10 mx.direct.test."],
        ("gone.direct.test", "A"): ["127.0.0.9"],
        ("mx.direct.test", "A"): ["127.0.0.1"],
        ("null.test", "MX"): ["0 ."],
        ("slow.test", "MX"): SILENCE,
    }
    with serving(Zone(records)) as made:
        yield made


@pytest.fixture
def parted(relay, hop, zone):
    relay.configure(
        f"""
        [dns]
        nameservers = 127.0.0.1:{zone.port}
        timeout = 1s

        [mx]
        port = {hop.port}

        [notification]
        smtp_enabled = true
        smtp_from = bugs@example.com
        upstream = outbox

        [route:inside]
        match = recipient: inside.test
        upstream = inside

        [upstream:inside]
        server = 127.0.0.1
        port = {hop.port}
        tls = none

        [route:direct]
        match = recipient: direct.test, null.test, none.test, slow.test
        upstream = mx
        """
    )
    return relay.start()


def test_each_recipient_by_his_own_way(parted, hop):
    relay = parted
    assert "route direct: mail with recipient: direct.test, or" in relay.log()
    recipients = ["a@inside.test", "b@direct.test", "c@null.test", "d@none.test", "e@slow.test", "f@kept.test"]
    relay.send(MAIL % b"parted", recipients)

    def outcomes():
        [row] = json.loads(relay.run_json("trace", "a@inside.test"))
        found = {o["address"]: o for attempt in row["attempts"] for o in attempt["outcomes"]}
        return found if len(found) == len(recipients) else None

    found = until(outcomes, "six answers")
    assert {address: (o["disposition"], o["status"]) for address, o in found.items()} == {
        "a@inside.test": ("relayed", ""),
        "b@direct.test": ("relayed", ""),
        "c@null.test": ("refused", "5.1.10"),
        "d@none.test": ("refused", "5.1.2"),
        "e@slow.test": ("deferred", "4.4.3"),
        "f@kept.test": ("relayed", "2.0.0"),
    }
    assert found["b@direct.test"]["host"].startswith("mx.direct.test[127.0.0.1]:")
    assert hop.subjects == ["parted", "parted"], "one transaction inside, one direct"
    assert "the next host is mx.direct.test" in relay.log()
    assert len(list((relay.folder / "var" / "outbox" / "new").iterdir())) >= 1

    rows = {row["name"]: row for row in json.loads(relay.run_json("upstream", "list"))}
    assert set(rows) == {"outbox", "inside", "mx"}
    assert (rows["mx"]["connections"], rows["mx"]["trouble"]) == (1, "")
    assert "it works: mx.direct.test[127.0.0.1]" in relay.command("upstream", "probe", "mx", "direct.test")
    assert "there is no domain none.test" in relay.command("upstream", "probe", "mx", "none.test", status=69)
    assert "say one, as in probe mx example.com" in relay.command("upstream", "probe", "mx", status=69)


def test_a_paused_mx_gets_nothing(parted, hop):
    parted.command("upstream", "pause", "mx")
    parted.send(MAIL % b"paused", ["b@direct.test"])
    parted.wait_log("this next hop is paused")
    parted.send(MAIL % b"inside", ["a@inside.test"])
    until(lambda: hop.subjects == ["inside"], "the mail inside")
    assert "resumed: 1 mails are due now" in parted.command("upstream", "resume", "mx")
    until(lambda: hop.subjects == ["inside", "paused"], "what waited")
