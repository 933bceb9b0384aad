"""The commands as an administrator types them: filters, confirmation, exit statuses, JSON, with a daemon and without."""

import json
import os
import pty
import pwd
import subprocess
import sys
import time

import pytest

from tests.e2e.tools import ROOT, closed_port, until

TRAC = b"X-Trac-Project: %s\r\nX-Trac-Ticket-ID: %d\r\nSubject: [%s] #%d: Crane\r\n\r\nhello\r\n"


@pytest.fixture(params=["running", "stopped"])
def queued(relay, request):
    """Four mails that wait, of two projects; the relay runs, or has been stopped."""
    relay.set_hop(closed_port()).start()
    for project, ticket, rcpt in (
        (b"Harbour", 1, "eve@example.org"),
        (b"Harbour", 2, "luc@example.net"),
        (b"Orchard", 1, "eve@example.org"),
        (b"Orchard", 3, "kim@example.net"),
    ):
        relay.send(TRAC % (project, ticket, project, ticket), [rcpt])
    until(lambda: relay.log().count("status=deferred") == 4, "four deferrals")
    time.sleep(0.3)
    if request.param == "stopped":
        relay.stop()
    return relay


def found(relay, *filters):
    rows = json.loads(relay.command("queue", "list", "--json", *filters))
    return sorted(f"{row['project']}#{row['ticket']}" for row in rows)


def test_filters_confirmation_and_dry_run(queued):
    assert found(queued) == ["Harbour#1", "Harbour#2", "Orchard#1", "Orchard#3"]
    assert found(queued, "--ticket", "#1", "--project", "harbour") == ["Harbour#1"]
    assert found(queued, "--to", "@example.org") == ["Harbour#1", "Orchard#1"]
    assert found(queued, "--from", "trac@tracker.example.com", "--reason", "connect", "--older", "0s") == found(queued)
    assert found(queued, "--older", "1h") == found(queued, "--state", "held") == []
    assert queued.command("queue", "list", "--ticket", "99") == "no mail matches\n"
    told = queued.command("queue", "hold", "--project", "Orchard", status=64)
    assert told.splitlines() == [
        "2 mails match: 2 queued, 0 held",
        "tracker-relay: nobody is there to confirm it: add --yes",
    ]
    told = queued.command("queue", "hold", "--project", "Orchard", "--dry-run")
    assert len(told.splitlines()) == 3
    assert found(queued, "--state", "held") == []
    rows = json.loads(queued.run_json("queue", "hold", "--project", "Orchard", "--yes"))
    assert [(row["result"], row["text"]) for row in rows] == [("done", "held")] * 2
    assert found(queued, "--state", "held") == found(queued, "--project", "Orchard")
    assert "0 queued, 0 held" in queued.command("queue", "drop", "--ticket", "99", "--yes")
    assert "name ids, filters or --all" in queued.command("queue", "drop", status=64)
    assert "can not be changed" in queued.command("queue", "drop", "--state", "done", "--yes", status=64)
    queued.command("queue", "drop", "--all", "--yes")
    assert queued.command("queue", "list") == "the queue is empty\n"
    assert found(queued, "--state", "done,held", "--state", "queued") == ["Harbour#1", "Harbour#2", "Orchard#1", "Orchard#3"]  # fmt: skip


def test_several_ids_and_those_on_standard_input(queued):
    names = [row["id"] for row in json.loads(queued.command("queue", "list", "--json"))]
    assert queued.command("queue", "hold", *names[:2]).count(": held\n") == 2
    told = queued.command("queue", "drop", names[0], "nonsense", names[1], status=66)
    assert told.count(": dropped\n") == 2
    assert "nonsense: no mail has this id\n" in told
    assert queued.command("queue", "hold", "-", input="\n".join(names[2:]).encode()).count(": held\n") == 2
    told = queued.command("queue", "show", names[2], "nonsense", status=66)
    assert told.startswith(f"{names[2]}: held, by an administrator ({pwd.getpwuid(os.getuid()).pw_name})\n")
    assert "nothing is known of nonsense" in told
    assert json.loads(queued.run_json("queue", "show", names[0]))[0]["state"] == "done"


def test_limits(queued):
    assert len(queued.command("queue", "list", "--limit", "3").splitlines()) == 4
    assert "3 shown, and there are more: --limit 0 shows all" in queued.command("queue", "list", "--limit", "3")
    assert queued.command("queue", "list", "--limit", "4").endswith("4 in all\n")
    assert queued.command("queue", "list", "--limit", "0").endswith("4 in all\n")
    assert len(json.loads(queued.command("queue", "list", "--json", "--limit", "2"))) == 2
    queued.command("queue", "list", "--limit", "-1", status=64)


def test_bounce_reports(queued, hop):
    """The report waits with everything else, and leaves when the hop is there."""
    queued.command("queue", "bounce", "--project", "Harbour", "--ticket", "2", "--yes")
    [report] = [row for row in json.loads(queued.command("queue", "list", "--json")) if row["report"]]
    assert (report["from"], report["to"]) == ("", ["bugs@example.com"])
    octets = queued.command("queue", "cat", report["id"])
    assert "luc@example.net" in octets
    assert "returned by an administrator" in octets
    life = queued.command("trace", "luc@example.net")
    assert "refused luc@example.net by administrator: 550 5.0.0 returned by an administrator" in life
    queued.set_hop(hop.port)
    if queued.process.poll() is None:
        assert queued.command("reload") == "reloaded\n"
    else:
        queued.start()
    queued.command("queue", "retry", "--from", "<>", "--yes")
    until(lambda: report["summary"] in hop.subjects, "the report arrives")


def typed(relay, answer, *arguments):
    """A command at a terminal: what it printed there, and its exit status."""
    controller, terminal = pty.openpty()
    line = [sys.executable, "-m", "relay", "--config", str(relay.folder / "config.ini"), *arguments]
    process = subprocess.Popen(line, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    os.close(terminal)
    os.write(controller, answer)
    out, err = process.communicate(timeout=60)
    os.close(controller)
    return out.decode() + err.decode(), process.returncode


def test_at_a_terminal_it_asks(relay):
    relay.set_hop(closed_port()).start()
    relay.send(TRAC % (b"Harbour", 1, b"Harbour", 1))
    relay.wait_log("status=deferred")
    told, status = typed(relay, b"n\n", "queue", "drop", "--all")
    assert (status, "1 mail matches: 1 queued, 0 held\ndrop 1? [y/N] nothing was changed" in told) == (1, True)
    assert found(relay) == ["Harbour#1"]
    told, status = typed(relay, b"y\n", "queue", "drop", "--all")
    assert status == 0
    assert ": dropped\n" in told
    assert found(relay) == []


STATUSES = [
    (("queue",), 64),
    (("queue", "fly"), 64),
    (("queue", "list", "--state", "nowhere"), 64),
    (("queue", "list", "--older", "soon"), 64),
    (("queue", "drop", "--older", "-1s"), 64),
    (("queue", "export"), 64),
    (("queue", "export", "--all"), 64),
    (("queue", "export", "--all", "--yes", "-o", "/nonexistent/q.tar"), 73),
    (("queue", "export", "--all", "--yes", "--remove", "-o", "-"), 64),
    (("queue", "import", "/nonexistent"), 66),
    (("queue", "import", "/etc/passwd"), 65),
    (("queue", "cat", "nonsense"), 66),
    (("queue", "show", "nonsense"), 66),
    (("queue", "show"), 64),
    (("trace", "nobody@example.org"), 66),
    (("trace", ""), 69),
    (("reload", "now"), 64),
]


def test_exit_statuses(relay):
    relay.set_hop(closed_port()).start()
    relay.send(TRAC % (b"Harbour", 1, b"Harbour", 1))
    for arguments, status in STATUSES:
        assert len(relay.command(*arguments, status=status).splitlines()) <= 2, arguments
        [row] = json.loads(relay.command("queue", "list", "--json"))
        assert row["state"] == "queued", "nothing was changed"


def test_neither_daemon_nor_spool(relay):
    relay.set_hop(closed_port())
    assert "no daemon is running, and there is no spool" in relay.command("queue", "list", status=69)
    (relay.folder / "config.ini").write_text("[notification]\nsmtp_fron = x\n")
    assert "did you mean smtp_from" in relay.command("queue", "list", status=78)


def test_explain_reads_standard_input(relay):
    relay.set_hop(closed_port())
    told = relay.command("explain", "-", "--to", "eve@example.org", input=TRAC % (b"Harbour", 1, b"Harbour", 1))
    assert "tracker: trac" in told
    assert "eve@example.org: gets it" in told
