"""The daemon by itself: answers, signals, loops, events."""

import email
import email.policy
import signal
import socket
import threading
import time

import pytest


@pytest.mark.parametrize("upstream", ["stopped", "silent", "unreachable"])
def test_the_final_dot_is_answered_at_once_whatever_the_upstream_does(daemon, upstream):
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    if upstream == "silent":
        sock.listen(50)  # accepts, and never says a word
    server = "192.0.2.1" if upstream == "unreachable" else "127.0.0.1"
    daemon.configure(
        f"""
        [timeouts]
        connect = 2s

        [notification]
        smtp_enabled = true
        smtp_from = bugs@example.com
        smtp_server = {"127.0.0.2" if upstream == "unreachable" else server}
        smtp_port = {sock.getsockname()[1]}
        use_tls = false
        """
    ).start()
    daemon.send(b"Subject: first\r\n\r\nx\r\n")
    times = []
    for number in range(20):
        began = time.perf_counter()
        daemon.send(f"Subject: {number}\r\n\r\nx\r\n".encode())
        times.append(time.perf_counter() - began)
    assert sorted(times)[10] < 0.25, times
    assert daemon.log().count("from=<trac@tracker.example.com>") == 21
    sock.close()


def test_a_slow_upstream_keeps_nobody_waiting(daemon):
    """10 s from connection to greeting; the tracker does not notice."""
    server = socket.create_server(("127.0.0.1", 0))
    clients = []

    def accept():
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            clients.append(client)
            threading.Timer(10, client.close).start()

    threading.Thread(target=accept, daemon=True).start()
    daemon.configure(
        f"""
        [notification]
        smtp_enabled = true
        smtp_from = bugs@example.com
        smtp_server = 127.0.0.1
        smtp_port = {server.getsockname()[1]}
        use_tls = false
        """
    ).start()
    began = time.perf_counter()
    for number in range(30):
        daemon.send(f"Subject: {number}\r\n\r\nx\r\n".encode())
    assert time.perf_counter() - began < 5
    server.close()
    for client in clients:
        client.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(daemon, number):
    daemon.configure("[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n").start()
    daemon.send(b"Subject: x\r\n\r\nx\r\n")
    assert daemon.stop(number) == 0
    assert daemon.log().rstrip().endswith("stopped")


def test_a_second_daemon_on_the_same_spool_is_refused(daemon, tmp_path):
    daemon.configure("[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n").start()
    second = type(daemon)(daemon.folder)
    second.output = tmp_path / "second.log"
    text = (daemon.folder / "config.ini").read_text().replace(str(daemon.port), str(second.port))
    (daemon.folder / "config.ini").write_text(text)
    with pytest.raises(AssertionError):
        second.start()
    assert second.process.wait(10) == 69
    assert "another tracker-relay is using it" in second.log()


def test_disabled_drops_and_says_so(daemon):
    daemon.configure("[notification]\nsmtp_from = bugs@example.com\n").start()
    daemon.send(b"Subject: x\r\n\r\nx\r\n")
    daemon.wait_log(r"status=dropped \(smtp_enabled: 250 2\.0\.0 dropped by smtp_enabled")
    assert "EVERY notification is accepted and dropped" in daemon.log()
    assert daemon.outbox() == []


def test_nobody_left_is_logged(daemon):
    daemon.configure("[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n").start()
    daemon.send(b"Subject: x\r\n\r\nx\r\n", ["bob"])
    daemon.wait_log("no recipient")
    daemon.wait_log("warning .*bob has no domain: set smtp_default_domain")
    assert daemon.outbox() == []


def test_through_the_daemon_twice_is_a_loop(daemon):
    daemon.configure("[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n").start()
    daemon.send(b"Subject: x\r\n\r\nx\r\n")
    daemon.wait_log("status=sent")
    [(raw, _)] = daemon.outbox()
    with socket.create_connection(("127.0.0.1", daemon.port), 10) as sock, sock.makefile("rwb") as talk:
        talk.write(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n")
        talk.flush()
        lines = []
        while not (lines and lines[-1].startswith(b"354")):
            lines.append(talk.readline())
        talk.write(raw.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        talk.flush()
        assert talk.readline().startswith(b"554 5.4.6")
    assert email.message_from_bytes(raw, policy=email.policy.default)["X-Tracker-Relay"].startswith(
        "relay.example.com id="
    )


def test_example_46_additions_once_per_event(daemon):
    """Three mails of one Redmine event, to three people; the list gets one copy, across a restart too."""
    daemon.configure(
        """
        [notification]
        smtp_enabled = true
        smtp_from = bugs@example.com
        smtp_always_cc = list@example.org
        """
    ).start()
    for number, person in enumerate(("a", "b", "c")):
        raw = (
            "X-Redmine-Host: r.example.com\r\nX-Redmine-Project: harbour\r\nX-Redmine-Issue-Id: 12\r\n"
            f"Message-ID: <redmine.journal-77.2026112410000{number}.x@r.example.com>\r\nSubject: [Harbour - Bug #12] x\r\n\r\nx\r\n"
        )
        daemon.send(raw.encode(), [f"{person}@example.org"])
        if number == 1:
            daemon.wait_sent(3)
            daemon.kill()
            daemon.start()
    daemon.wait_sent(4)
    recipients = sorted(r["address"] for _, envelope in daemon.outbox() for r in envelope["to"])
    assert recipients == ["a@example.org", "b@example.org", "c@example.org", "list@example.org"]
