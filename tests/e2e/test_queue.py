"""The queue in an administrator's hand: with a running daemon and with a stopped one, and racing with deliveries."""

import json
import os
import pwd
import re
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

USER_NAME = pwd.getpwuid(os.getuid()).pw_name
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")


class Hop:
    """A next hop that can be closed and opened: it accepts mail and counts it by Subject."""

    def __init__(self):
        self.subjects = []
        self.delay = 0.0
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client):
        with client, client.makefile("rwb") as lines:
            try:
                self._serve(lines)
            except (OSError, ValueError):
                return

    def _serve(self, lines):
        def say(text):
            lines.write(text + b"\r\n")
            lines.flush()

        say(b"220 hop")
        while line := lines.readline():
            if line.startswith(b"DATA"):
                say(b"354 go")
                octets = b""
                while (line := lines.readline()) != b".\r\n":
                    octets += line
                time.sleep(self.delay)
                self.subjects.append(re.search(rb"Subject: (.*)\r", octets)[1].decode())
            if line.startswith(b"QUIT"):
                return
            say(b"250 ok")


@pytest.fixture
def hop():
    made = Hop()
    yield made
    made.sock.close()


@pytest.fixture
def relay(daemon):
    def configure(port, first="1h"):
        return daemon.configure(
            f"""
            [retry]
            first = {first}

            [notification]
            smtp_enabled = true
            smtp_from = bugs@example.com
            smtp_server = 127.0.0.1
            smtp_port = {port}
            use_tls = false
            """
        )

    def command(*arguments, status=0, **more):
        line = [sys.executable, "-m", "relay", "--config", str(daemon.folder / "config.ini"), *arguments]
        result = subprocess.run(line, capture_output=True, timeout=60, **more)
        assert result.returncode == status, (result.stdout, result.stderr)
        return result.stdout.decode() + result.stderr.decode()

    daemon.set_hop, daemon.command = configure, command
    return daemon


def closed_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


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
    assert "nothing is known of zzz" in relay.command("trace", "zzz", status=66)
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
    assert re.search(r"relayed eve@example.org by 127.0.0.1\[127.0.0.1\]:\d+: 250 ok", life)


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


def test_commands_race_with_deliveries_and_nothing_is_lost_or_doubled(relay, hop):
    hop.delay = 0.01
    relay.set_hop(hop.port, first="1s").start()
    expected = [f"m{number}" for number in range(60)]
    stop = threading.Event()
    ids = set()

    def meddle():
        while not stop.is_set():
            rows = json.loads(relay.command("queue", "list", "--json"))
            ids.update(row["id"] for row in rows)
            names = [row["id"] for row in rows][:10]
            for verb in ("hold", "release", "retry"):
                if names:
                    line = [
                        sys.executable,
                        "-m",
                        "relay",
                        "--config",
                        str(relay.folder / "config.ini"),
                        "queue",
                        verb,
                        *names,
                    ]
                    subprocess.run(line, capture_output=True, timeout=60)

    thread = threading.Thread(target=meddle)
    thread.start()
    for subject in expected:
        relay.send(f"Subject: {subject}\r\n\r\nx\r\n".encode())
    time.sleep(2)
    stop.set()
    thread.join()
    for row in json.loads(relay.command("queue", "list", "--json")):
        relay.command("queue", "release" if row["state"] == "held" else "retry", row["id"], status=0)
    relay.wait_sent(60)
    time.sleep(0.3)
    assert sorted(hop.subjects) == sorted(expected)


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


@ROOT_ONLY
def test_root_leaves_no_file_of_its_own_in_a_foreign_spool(relay, hop):
    relay.set_hop(hop.port)
    spool = relay.folder / "var" / "spool"
    spool.mkdir(parents=True, mode=0o700)
    for folder in (relay.folder, *relay.folder.parents):
        if folder.is_relative_to("/tmp") and folder != folder.parent and str(folder) != "/tmp":
            folder.chmod(folder.stat().st_mode | 0o055)
    os.chown(spool, 65534, 65534)
    assert relay.command("queue", "list") == "the queue is empty\n"
    owners = {path.stat().st_uid for path in spool.rglob("*")}
    assert owners == {65534}
