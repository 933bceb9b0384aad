"""Reload: new rules for what is queued, the old configuration when the new one is wrong."""

import signal
import socket
import threading
import time

from tests.e2e.tools import until


def test_a_reload_takes_the_new_rules_and_keeps_the_old_ones_when_they_are_wrong(daemon):
    """Under load: nothing is lost, and what is queued follows the new rules."""
    base = "[notification]\nsmtp_enabled = true\nsmtp_from = {}@example.com\n"
    daemon.configure(base.format("first")).start()
    daemon.send(b"Subject: 1\r\n\r\nx\r\n")
    daemon.wait_sent(1)
    stop = threading.Event()
    sent = []

    def load():
        while not stop.is_set():
            daemon.send(f"Subject: load {len(sent)}\r\n\r\nx\r\n".encode())
            sent.append(1)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for number in range(5):
            daemon.configure(base.format(f"n{number}"))
            daemon.process.send_signal(signal.SIGHUP)
            time.sleep(0.2)
        daemon.configure("[notification]\nsmtp_enabled = true\nsmtp_fron = x\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_log(r"reload: .*config.ini:\d+: \[notification\] smtp_fron: no such option: did you mean smtp_from")
        daemon.wait_log("the old configuration stays")
    finally:
        stop.set()
        thread.join()
    daemon.send(b"Subject: last\r\n\r\nx\r\n")
    daemon.wait_sent(len(sent) + 2)
    mails = daemon.outbox()
    assert len(mails) == len(sent) + 2
    assert mails[0][1]["from"] == "first@example.com"
    assert {envelope["from"] for _, envelope in mails} >= {"n4@example.com"}
    [last] = [envelope for raw, envelope in mails if b"Subject: last" in raw]
    assert last["from"] == "n4@example.com"
    assert daemon.log().count("configuration reloaded") == 5


def test_a_corrected_rule_applies_to_what_is_queued(daemon):
    sink = socket.socket()
    sink.bind(("127.0.0.1", 0))
    base = "[retry]\nfirst = 1s\nlongest = 1s\n[notification]\nsmtp_enabled = true\nsmtp_from = {}@example.com\n"
    hop = f"smtp_server = 127.0.0.1\nsmtp_port = {sink.getsockname()[1]}\nuse_tls = false\n"
    daemon.configure(base.format("first") + hop).start()
    daemon.send(b"Subject: x\r\n\r\nx\r\n")
    daemon.wait_log("status=deferred")
    daemon.configure(base.format("second"))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log("status=sent")
    [(_, envelope)] = daemon.outbox()
    assert envelope["from"] == "second@example.com"
    sink.close()


def test_another_hostname_is_said_to_the_next_hop_without_a_restart(daemon):
    heard = []

    def refuse():
        while True:
            try:
                client, _ = sink.accept()
            except OSError:
                return
            with client, client.makefile("rwb", buffering=0) as lines:
                lines.write(b"220 hop\r\n")
                heard.append(lines.readline())
                lines.write(b"421 4.3.2 not now\r\n")

    sink = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=refuse, daemon=True).start()
    hop = f"smtp_server = 127.0.0.1\nsmtp_port = {sink.getsockname()[1]}\nuse_tls = false\nsmtp_from = a@example.com\n"
    daemon.configure("[retry]\nfirst = 1s\nlongest = 1s\n[notification]\nsmtp_enabled = true\n" + hop).start()
    daemon.send(b"Subject: x\r\n\r\nx\r\n")
    until(lambda: heard == [b"EHLO relay.example.com\r\n"], "the first EHLO")
    config = daemon.folder / "config.ini"
    config.write_text(config.read_text().replace("relay.example.com", "other.example.com"))
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: b"EHLO other.example.com\r\n" in heard, f"the new name in {heard}")
    sink.close()
