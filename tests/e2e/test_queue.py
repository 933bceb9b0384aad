"""The queue in an administrator's hand: with a running daemon and with a stopped one."""

import json
import os
import pwd
import re
import socket
import stat
import time

import pytest

from tests.e2e.tools import closed_port

USER_NAME = pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize("running", [True, False])
def test_list_show_cat_hold_release_drop(relay, running):
    relay.set_hop(closed_port()).start()
    relay.send(b"Subject: [Harbour] #12: Crane\r\nMessage-ID: <1@x>\r\n\r\nhello\r\n")
    relay.send(b"Subject: other\r\n\r\nx\r\n", ["luc@example.net", "kim@example.net"])
    relay.wait_log(r"(?s)status=deferred.*status=deferred.*status=deferred")
    time.sleep(0.3)
    if not running:
        relay.stop()
    rows = json.loads(relay.command("queue", "list", "--json"))
    assert [(r["summary"], r["state"]) for r in rows] == [("other", "queued"), ("[Harbour] #12: Crane", "queued")]
    other, crane = (row["id"] for row in rows)
    text = relay.command("queue", "list")
    assert crane in text
    assert "luc@example.net +1" in text
    assert "Connection refused" in text
    assert relay.command("queue", "cat", crane).endswith("\nhello\r\n")
    assert relay.command("queue", "hold", crane) == f"{crane}: held\n"
    assert relay.command("queue", "hold", crane) == f"{crane}: is held already\n"
    [row] = json.loads(relay.command("queue", "list", "--state", "held", "--json"))
    assert (row["id"], row["reason"]) == (crane, f"by an administrator ({USER_NAME})")
    assert relay.command("queue", "release", crane) == f"{crane}: released\n"
    assert relay.command("queue", "drop", other) == f"{other}: dropped\n"
    assert relay.command("queue", "drop", other, status=66) == f"{other}: is not in the queue any more: see trace\n"
    assert relay.command("queue", "retry", "nonsense", status=66) == "nonsense: no mail has this id\n"
    for what in (other, "kim@example.net", "other"):
        life = relay.command("trace", what)
        assert "accepted: from 127.0.0.1" in life
        assert "deferred luc@example.net by 127.0.0.1" in life
        assert "dropped kim@example.net by administrator: 250 2.0.0 dropped by an administrator" in life
        assert f"dropped: by an administrator ({USER_NAME})" in life
    for what in ("<1@x>", "#12", crane):
        assert "held: by an administrator" in relay.command("trace", what)
    ended = relay.run("queue", "hold", other, "nonsense", crane)
    assert ended.stdout == f"{crane}: held\n".encode()
    assert ended.stderr.decode().splitlines() == [
        f"{other}: is not in the queue any more: see trace",
        "nonsense: no mail has this id",
    ]
    assert ended.returncode == 66
    assert "nothing is known of zzz" in relay.command("trace", "zzz", status=66)
    ended = relay.run("trace", "zzz", "--json")
    assert (ended.returncode, ended.stdout) == (66, b"[]\n")
    assert ended.stderr == b"tracker-relay: nothing is known of zzz\n"
    assert "nonsense is not in the queue" in relay.command("queue", "cat", "nonsense", status=66)


def test_retry_delivers_at_once(relay, hop):
    port = closed_port()
    relay.set_hop(port).start()
    relay.send(b"Subject: one\r\n\r\nx\r\n")
    relay.wait_log("status=deferred")
    relay.set_hop(hop.port)
    assert relay.command("reload") == "reloaded\n"
    [row] = json.loads(relay.command("queue", "list", "--json"))
    assert relay.command("queue", "retry", row["id"]) == f"{row['id']}: due now\n"
    relay.wait_sent(1)
    assert hop.subjects == ["one"]
    assert relay.command("queue", "list") == "the queue is empty\n"
    life = relay.command("trace", row["id"])
    assert "retry: by an administrator" in life
    assert re.search(r"relayed eve@example.org by 127.0.0.1\[127.0.0.1\]:\d+ \(tls=none\): 250 ok", life)


def test_a_broken_file_keeps_nobody_from_the_running_daemon_which_names_its_faults(relay, hop):
    relay.set_hop(hop.port).start()
    with (relay.folder / "config.ini").open("a") as config:
        config.write("smtp_fron = x\n")
    said = relay.command("reload", status=78)
    assert "[notification] smtp_fron: no such option: did you mean smtp_from?" in said
    assert "the old configuration stays" in said
    assert relay.command("queue", "list") == "the queue is empty\n"
    relay.stop()
    assert "did you mean smtp_from?" in relay.command("queue", "list", status=78)


def test_reload_without_a_daemon(relay, hop):
    relay.set_hop(hop.port)
    assert "no daemon is running" in relay.command("reload", status=69)


def test_the_socket_is_closed_to_others(relay, hop):
    relay.set_hop(hop.port).start()
    path = relay.folder / "var" / "spool" / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for octets in (
        b"\n",
        b"[]\n",
        b"{]\n",
        b"x" * 2_000_000 + b"\n",
        b'{"do": "fly"}\n',
        b'{"do": "list", "limit": "x"}\n',
        b'{"do": "drop"}\n',
    ):
        with socket.socket(socket.AF_UNIX) as sock:
            folder = os.open(path.parent, os.O_RDONLY)
            sock.connect(f"/proc/self/fd/{folder}/control.sock")
            os.close(folder)
            try:
                sock.sendall(octets)
                answer = sock.makefile("rb").readline()
            except OSError:
                continue
            assert not answer or b'"error"' in answer
    assert relay.command("queue", "list") == "the queue is empty\n"
    assert relay.stop() == 0
    assert not path.exists()
