"""The page of a real daemon: its link, its reload, and that mail goes on whatever becomes of it."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from relay import app, config
from relay.address import parse
from relay.entry import Entry, State
from relay.mail import Envelope, Recipient
from relay.prepare import event_key, read
from relay.systemd import Systemd
from tests.e2e.tools import ROOT, answers, free_port, until
from tests.web.conftest import ask

NOTIFICATION = "[notification]\nsmtp_enabled = true\nsmtp_from = b@example.com\n"
LINK = r"status page: (http://127\.0\.0\.1:(\d+)(/\?token=\S+))"


def page(daemon, status="", more=""):
    port = free_port()
    daemon.configure(f"[status]\nlisten = 127.0.0.1:{port}\n{status}{more}{NOTIFICATION}")
    return port


def sends(daemon):
    number = len(daemon.outbox())
    daemon.send(b"Subject: x\r\n\r\nx\r\n")
    until(lambda: len(daemon.outbox()) == number + 1, "the mail in the outbox")


def test_it_prints_a_link_that_opens(daemon):
    port = page(daemon)
    daemon.start()
    link = daemon.wait_log(LINK)
    assert int(link[2]) == port
    answer = ask(("127.0.0.1", port), link[3])
    assert answer.status == 303
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    sends(daemon)
    until(
        lambda: b"All mail is kept in the outbox" in ask(("127.0.0.1", port), "/", headers={"Cookie": cookie}).body,
        "the sentence",
    )
    assert ask(("127.0.0.1", port), "/").status == 401
    file = daemon.folder / "var" / "spool" / "status.token"
    assert file.read_text().strip() in link[3]
    assert file.stat().st_mode & 0o777 == 0o600
    token = file.read_text()
    assert daemon.stop() == 0
    assert not answers(port)
    daemon.start()
    daemon.wait_log(rf"(?s)stopped.*{re.escape(link[1])}")
    assert file.read_text() == token


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        ("file = relay.log.own\n", True),
        ("file = relay.log.own\nformat = json\n", True),
        ("format = json\n", False),
        ("format = journal\n", False),
    ],
)
def test_the_token_goes_to_a_persons_eyes_only(daemon, log, shown):
    log = log.replace("relay.log.own", str(daemon.folder / "own.log"))
    page(daemon, more=f"[log]\n{log}")
    daemon.start()
    own = daemon.folder / "own.log"
    until(lambda: "its token is in" in daemon.log() + (own.read_text() if own.exists() else ""), "the page")
    time.sleep(0.2)
    token = (daemon.folder / "var" / "spool" / "status.token").read_text().strip()
    assert (token in daemon.log()) is shown
    assert not own.exists() or token not in own.read_text()
    if log == "format = json\n":
        assert all(json.loads(line) for line in daemon.log().splitlines())


def test_the_token_does_not_go_into_systemds_journal(daemon, monkeypatch):
    page(daemon)
    daemon.output.touch()
    status = daemon.output.stat()
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    daemon.start()
    daemon.wait_log("its token is in")
    time.sleep(0.2)
    assert (daemon.folder / "var" / "spool" / "status.token").read_text().strip() not in daemon.log()


def test_a_port_in_use_is_one_loud_warning_and_mail_goes_on(daemon):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon.configure(f"[status]\nlisten = 127.0.0.1:{port}\n{NOTIFICATION}").start()
        daemon.wait_log(rf"warning -: NO STATUS PAGE: \[status\] listen: 127\.0\.0\.1:{port}: Address already in use")
        sends(daemon)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log(LINK)
    assert ask(("127.0.0.1", port), "/healthz").body == b"ok"


def test_without_the_extra_it_is_one_line_that_names_it_and_mail_goes_on(daemon):
    page(daemon)
    code = "import sys; sys.modules['starlette'] = None; from relay.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--config", str(daemon.folder / "config.ini"), "run"]
    with daemon.output.open("ab") as output:
        daemon.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    daemon.wait_log(
        r"warning -: NO STATUS PAGE: starlette is not installed: pip install 'tracker-relay\[web\]', or set \[status\] listen ="
    )
    sends(daemon)
    assert daemon.log().count("STATUS PAGE") == 1


def test_a_token_file_that_can_not_be_made_is_one_line_and_mail_goes_on(daemon):
    (daemon.folder / "file").write_text("")
    page(daemon, status="token_file = file/token\n")
    daemon.start()
    daemon.wait_log(r"NO STATUS PAGE: \[status\] token_file: .*/file/token can not be made: File exists")
    sends(daemon)


def test_off_it_is_not_even_imported(daemon):
    daemon.configure(f"[status]\nlisten =\n{NOTIFICATION}")
    code = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom relay import app, config\nfrom relay.systemd import Systemd\n"
        f"configuration = config.read(Path({str(daemon.folder / 'config.ini')!r})).configuration\n"
        "async def main():\n stop = asyncio.Event()\n asyncio.get_running_loop().call_later(0.5, stop.set)\n"
        " await app.Relay(configuration, Systemd({})).run(stop, lambda relay: None)\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('starlette', 'uvicorn', 'jinja2', 'h11') or name.startswith('relay.web')])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout == "[]\n", result.stderr
    assert not (daemon.folder / "var" / "spool" / "status.token").exists()


def test_a_reload_moves_it_closes_it_and_opens_it(daemon):
    first = page(daemon)
    daemon.start()
    daemon.wait_log(LINK)
    second = page(daemon, status="hosts = relay.example.com, localhost\n")
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: answers(second), "the page on its new port")
    assert not answers(first)
    assert ask(("127.0.0.1", second), "/healthz", headers={"Host": "relay.example.com"}).body == b"ok"
    assert ask(("127.0.0.1", second), "/healthz", headers={"Host": "127.0.0.1"}).status == 403
    daemon.wait_log(rf"status page: http://relay\.example\.com:{second}/\?token=")
    told = daemon.log().count("its token is in")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log(r"(?s)(configuration reloaded.*){2}")
    time.sleep(0.3)
    assert daemon.log().count("its token is in") == told, "nothing has changed: nothing is opened anew"
    daemon.configure(f"[status]\nlisten =\n{NOTIFICATION}")
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: not answers(second), "no page")
    sends(daemon)
    assert daemon.stop() == 0


def test_a_token_that_is_removed_is_worthless_after_a_reload(daemon):
    port = page(daemon)
    daemon.start()
    daemon.wait_log(LINK)
    file = daemon.folder / "var" / "spool" / "status.token"
    old = {"Authorization": f"Bearer {file.read_text().strip()}"}
    assert ask(("127.0.0.1", port), "/queue", headers=old).status == 200
    file.unlink()
    daemon.process.send_signal(signal.SIGHUP)
    until(file.exists, "a new token")
    until(
        lambda: answers(port) and ask(("127.0.0.1", port), "/queue", headers=old).status == 401, "the old one refused"
    )
    new = {"Authorization": f"Bearer {file.read_text().strip()}"}
    assert ask(("127.0.0.1", port), "/queue", headers=new).status == 200


def test_two_addresses_of_which_one_can_be_had(daemon):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon.configure(f"[status]\nlisten = 127.0.0.1:{port}, unix:var/page.sock\n{NOTIFICATION}").start()
        daemon.wait_log(rf"warning -: status page: \[status\] listen: 127\.0\.0\.1:{port}")
        path = daemon.folder / "var" / "page.sock"
        until(path.exists, "the socket")
        assert ask(path, "/api/status").json["level"] == "good"
    assert daemon.stop() == 0
    assert not path.exists()


def test_it_ends_with_the_relay_whoever_is_still_reading(daemon):
    port = page(daemon)
    daemon.start()
    link = daemon.wait_log(LINK)
    with socket.create_connection(("127.0.0.1", port)) as idle, socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(b"GET / HTTP/1.1\r\n")
        with socket.create_connection(("127.0.0.1", port)) as kept:
            token = link[3].partition("=")[2]
            kept.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            assert kept.recv(12) == b"HTTP/1.1 200"
            began = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - began < 5
        assert idle.recv(10) == b""


def test_looking_at_a_mail_does_not_make_it_the_first_of_its_event(tmp_path):
    """With the relay's own parts: what would be added to an event is still added to the mail that leaves first."""
    (tmp_path / "config.ini").write_text(
        f"[listener]\nlisten = 127.0.0.1:{free_port()}\n[status]\nlisten = unix:page.sock\n{NOTIFICATION}smtp_always_cc = list@example.com\n"
    )
    text = b"X-Mailer: Trac 1.6\r\nX-Trac-Ticket-ID: 12\r\nX-Trac-Project: P\r\nSubject: #12: x\r\nDate: Tue, 24 Nov 2026 18:00:00 -0000\r\n\r\nbody\r\n"

    async def story():
        relay = app.Relay(config.read(tmp_path / "config.ini", {}).configuration, Systemd({}))
        stop, ready = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(relay.run(stop, lambda _: ready.set()))
        await ready.wait()
        while not (tmp_path / "page.sock").exists():
            await asyncio.sleep(0.02)
        envelope = Envelope(parse("a@example.com"), (Recipient.accepted(parse("b@example.com")),))
        entry = Entry("k" * 15, 1.0, envelope, len(text), State.HELD)
        draft = relay.spool.draft()
        draft.write(text)
        await relay.spool.put(entry, draft)
        answer = await asyncio.to_thread(ask, tmp_path / "page.sock", f"/mail/{entry.id}")
        kept, body = await relay.spool.peek(entry.id)
        key = event_key(read(kept, body, relay.setting))
        known = await relay.spool.recall(f"event:{key}"), await relay.events.is_first(key, "another")
        stop.set()
        await running
        return answer.text, known

    text_, known = asyncio.run(story())
    assert "smtp_always_cc" in text_
    assert known == (None, True)


def test_check_refuses_an_exposed_token_file(daemon):
    (daemon.folder / "token").write_text("x" * 40)
    (daemon.folder / "token").chmod(0o644)
    page(daemon, status="token_file = token\n")
    command = [sys.executable, "-m", "relay", "--config", str(daemon.folder / "config.ini"), "check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 78
    assert "[status] token_file: others may read" in result.stdout
    assert "chmod o-rwx" in result.stdout
