"""`suppress`: an administrator's list of dead addresses, with a running daemon and with a stopped one."""

import json
import os

from tests.e2e.tools import closed_port


def results(relay, *arguments, status=0):
    ended = relay.run("suppress", *arguments, "--json")
    assert ended.returncode == status, (ended.stdout, ended.stderr)
    return {row["address"]: row["result"] for row in json.loads(ended.stdout)}


def test_what_is_suppressed_is_not_mailed_over_reload_and_restart(relay, hop):
    relay.set_hop(hop.port).start()
    assert relay.command("suppress", "list") == "no address is suppressed\n"
    assert relay.command("suppress", "list", "--json") == "[]\n"
    assert relay.command("suppress", "add", "kim@example.org", "--reason", "left us") == "kim@example.org: suppressed\n"
    assert relay.command("suppress", "add", "kim@EXAMPLE.org") == "kim@EXAMPLE.org: is suppressed already\n"
    assert relay.command("suppress", "list").endswith(": left us\n1 in all\n")
    relay.send(b"Subject: one\r\n\r\nx\r\n", ["kim@example.org", "eve@example.org"])
    relay.wait_log(r"to=<kim@example\.org>, relay=none.*status=dropped \(suppress: 250 2\.0\.0 dropped by suppress")
    relay.wait_sent(1)
    assert relay.command("reload") == "reloaded\n"
    relay.send(b"Subject: two\r\n\r\nx\r\n", ["kim@example.org", "eve@example.org"])
    relay.wait_sent(2)
    assert relay.stop() == 0
    [row] = json.loads(relay.command("suppress", "list", "--json"))
    assert set(row) == {"address", "at", "by", "reason"} and row["reason"] == "left us"
    assert results(relay, "add", "bob@example.org") == {"bob@example.org": "done"}
    owners = {path.stat().st_uid for path in (relay.folder / "var" / "spool").rglob("*")}
    assert owners == {os.geteuid()}
    relay.start()
    relay.send(b"Subject: three\r\n\r\nx\r\n", ["kim@example.org", "bob@example.org", "eve@example.org"])
    relay.wait_sent(3)
    relay.wait_log(r"(?s)(dropped by suppress.*){4}")
    assert results(relay, "clear", "kim@example.org", "zoe@example.org", status=66) == {
        "kim@example.org": "done",
        "zoe@example.org": "unknown",
    }
    relay.send(b"Subject: four\r\n\r\nx\r\n", ["kim@example.org"])
    relay.wait_log(r"to=<kim@example\.org>, relay=127.*status=sent")
    assert results(relay, "clear", "--all") == {"bob@example.org": "done"}
    assert hop.subjects == ["one", "two", "three", "four"]


def test_queued_mail_heeds_the_list_too(relay, hop):
    relay.set_hop(closed_port()).start()
    relay.send(b"Subject: waits\r\n\r\nx\r\n", ["kim@example.org", "eve@example.org"])
    relay.wait_log(r"(?s)status=deferred.*status=deferred")
    relay.command("suppress", "add", "kim@example.org")
    relay.set_hop(hop.port)
    relay.command("reload")
    relay.command("queue", "retry", "--all", "--yes")
    relay.wait_sent(1)
    relay.wait_log(r"to=<kim@example\.org>.*status=dropped \(suppress")
    assert relay.command("queue", "list") == "the queue is empty\n"
    assert "dropped kim@example.org by suppress: 250 2.0.0" in relay.command("trace", "kim@example.org")


def test_a_command_line_that_means_nothing_is_64(relay, hop):
    relay.set_hop(hop.port)
    assert "argument ADDRESS: 'a b' is not an address" in relay.command("suppress", "add", "a b", status=64)
    assert "argument ADDRESS: '' is not an address" in relay.command("suppress", "add", "", status=64)
    assert "name addresses, or --all" in relay.command("suppress", "clear", status=64)
    assert "name addresses, or --all" in relay.command("suppress", "clear", "a@b.example", "--all", status=64)
    assert "there is no spool" in relay.command("suppress", "list", status=69)
