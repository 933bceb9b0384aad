"""`upstream list|pause|resume|probe`: the next hops in an administrator's hand, with a daemon and without."""

import json

import pytest

from tests.e2e.tools import closed_port, until

MAIL = b"Subject: %s\r\n\r\nx\r\n"


@pytest.fixture
def two(relay, hop):
    """Mail goes to `main`, and to the outbox when that can not be reached."""

    def configure(upstreams="main"):
        relay.configure(
            f"""
            [retry]
            first = 1h
            longest = 1h

            [notification]
            smtp_enabled = true
            smtp_from = bugs@example.com
            upstream = {upstreams}

            [upstream:main]
            server = 127.0.0.1
            port = {hop.port}
            tls = none
            """
        )
        return relay

    return configure


def test_a_paused_hop_gets_nothing_until_it_is_resumed_even_over_a_restart(two, hop):
    relay = two().start()
    relay.send(MAIL % b"first")
    until(lambda: hop.subjects == ["first"], "the first mail")
    assert "paused by " in relay.command("upstream", "pause", "main")
    relay.send(MAIL % b"second")
    relay.wait_log(r"status=deferred \(451 4.3.2 this next hop is paused by \w+\)")
    relay.stop()
    ended = relay.run("queue", "list", "--json")
    assert (ended.returncode, ended.stderr) == (0, b"")  # a script hears of mail here, of pauses from upstream list
    relay.start()
    relay.wait_log("next hop main is paused by .*: its mail waits for `upstream resume main`")
    relay.send(MAIL % b"third")
    until(lambda: relay.log().count("this next hop is paused") >= 2, "the third mail's deferral")
    [row] = json.loads(relay.run_json("upstream", "list"))
    assert row["paused"].startswith("paused by ")
    assert hop.subjects == ["first"]
    assert "resumed: 2 mails are due now" in relay.command("upstream", "resume", "main")
    until(lambda: sorted(hop.subjects) == ["first", "second", "third"], "what waited")
    [row] = json.loads(relay.run_json("upstream", "list"))
    assert row["paused"] == ""


def test_what_stands_in_takes_over_while_it_is_paused(two, hop):
    relay = two("main, outbox").start()
    relay.command("upstream", "pause", "main")
    relay.send(MAIL % b"aside")
    until(relay.outbox, "the mail in the outbox")
    assert hop.subjects == []


def test_a_pause_without_a_daemon_counts_from_the_start(two, hop):
    relay = two().start()
    relay.stop()
    relay.command("upstream", "pause", "main")
    relay.start()
    relay.send(MAIL % b"waits")
    relay.wait_log("this next hop is paused")
    assert hop.subjects == []


def test_probe(two, relay, hop):
    two().start()
    told = relay.command("upstream", "probe", "main")
    assert f"it works: 127.0.0.1[127.0.0.1]:{hop.port}, no TLS" in told
    assert hop.subjects == []
    [row] = json.loads(relay.run_json("upstream", "probe", "main"))
    assert (row["ok"], row["tls_now"]) == (True, "")


def test_a_probe_that_fails_says_why_and_one_that_works_frees_what_waited(relay, hop):
    relay.set_hop(closed_port()).start()
    relay.send(MAIL % b"waits")
    relay.wait_log("status=deferred")
    told = relay.command("upstream", "probe", "notification", status=69)
    assert "it does not work: 451 4.4.1 connect to 127.0.0.1" in told
    assert "Connection refused (connect)" in told
    told = relay.command("upstream", "list")
    assert "trouble since" in told


def test_a_hop_that_nobody_knows(relay):
    relay.set_hop(closed_port()).start()
    told = relay.command("upstream", "pause", "mian", status=69)
    assert told == "tracker-relay: no next hop is named 'mian': there are notification\n"
