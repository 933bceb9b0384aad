"""The main job from end to end: a real Trac, the daemon, a real Postfix."""

import re
import subprocess
import time

import pytest

NOTIFICATION = """
[retry]
first = 1s
longest = 2s

[notification]
smtp_enabled = true
smtp_from = bugs@example.com
smtp_replyto = replies@example.com
smtp_default_domain = corp.example.com
smtp_always_cc = list@example.org
smtp_always_bcc = audit@example.org
smtp_subject_prefix = [Häfen]
mime_encoding = qp
"""


DESCRIPTION = "Der Kran klemmt.\n\nFür alle: bitte prüfen. お願いします。 " + "sehr lange Zeile " * 20


def ticket(trac, **fields):
    return trac.ask(
        "new",
        fields={"summary": "Kran klemmt: prüfen", "reporter": "dana", "owner": "luc", "cc": "kim, eve@example.org"}
        | {"description": DESCRIPTION}
        | fields,
    )


def check_fields(stored):
    """Field by field what the rules promise, for every recipient's copy."""
    expected = {
        "dana@example.com",
        "luc@example.net",
        "kim@corp.example.com",
        "eve@example.org",
        "list@example.org",
        "audit@example.org",
    }
    assert set(stored) == expected
    for mail in stored.values():
        assert mail.envelope_from == "<bugs@example.com>"
        assert mail.field("From") == "Harbour <bugs@example.com>"
        assert mail.field("Reply-To") == "replies@example.com"
        assert mail.field("To") == "undisclosed-recipients: ;"
        assert mail.field("Cc") == "list@example.org"
        assert (
            mail.message["Subject"] == "[Häfen] [Harbour] #1: Kran klemmt: prüfen"
            or mail.message["Subject"] == "[Häfen] #1: Kran klemmt: prüfen"
        )
        assert mail.field("X-Trac-Ticket-ID") == "1"
        assert mail.field("X-Trac-Project") == "Harbour"
        assert mail.field("Auto-Submitted") == "auto-generated"
        assert re.fullmatch(r"<\d{3}\.[0-9a-f]{32}@example.com>|<[^@]+@[^@]+>", mail.field("Message-ID"))
        header, _, body = mail.raw.partition(b"\n\n")
        ours = re.sub(rb"(?im)^(?:Delivered-To|X-Original-To|Return-Path):.*\n", b"", header)
        for hidden in (b"audit@", b"kim@", b"eve@", b"dana@", b"luc@"):
            assert hidden not in re.sub(rb"(?is)Received:.*?\n(?![ \t])", b"", ours), ours
        assert max(map(len, body.split(b"\n"))) <= 76
        assert "Für alle: bitte prüfen. お願いします。" in mail.text
        assert "sehr lange Zeile" in mail.text
        assert re.search(r"Reporter:\s+dana", mail.text)
        [part] = [p for p in mail.message.walk() if p.get_content_type() == "text/plain"]
        assert part["Content-Transfer-Encoding"] == "quoted-printable"


@pytest.mark.real
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_trac_through_the_relay_to_postfix(daemon, postfix, trac, upstream_lines, tls):
    daemon.configure(NOTIFICATION + upstream_lines(getattr(postfix, tls), tls=tls)).start()
    ticket(trac(daemon.port))
    check_fields(postfix.wait(6))
    assert "Anonymous" not in postfix.log().split("TLS connection established")[0]
    log = daemon.log()
    assert len(re.findall(r"status=sent \(250 ", log)) == 6
    queued = re.search(r"info (\w{15}): from=<", log)
    assert queued
    assert log.count(queued[1]) >= 7, "one mail's lines join by its id"


@pytest.mark.real
def test_the_next_hop_is_down_at_first(daemon, postfix, trac, upstream_lines):
    postfix.stop()
    daemon.configure(NOTIFICATION + upstream_lines(postfix.starttls)).start()
    began = time.monotonic()
    ticket(trac(daemon.port))
    assert time.monotonic() - began < 20
    daemon.wait_log(r"status=deferred \(451 4\.4\.1 connect to localhost")
    postfix.start()
    check_fields(postfix.wait(6))


@pytest.mark.real
def test_kill_9_between_250_and_delivery(daemon, postfix, trac, upstream_lines):
    postfix.stop()
    daemon.configure(NOTIFICATION + upstream_lines(postfix.starttls)).start()
    ticket(trac(daemon.port))
    daemon.wait_log("from=<trac@tracker.example.com>")
    daemon.kill()
    postfix.start()
    daemon.start()
    check_fields(postfix.wait(6))


@pytest.mark.real
def test_comment_change_and_attachment(daemon, postfix, trac, upstream_lines):
    text = NOTIFICATION.replace("[Häfen]", "__default__").replace("smtp_always_bcc = audit@example.org\n", "")
    daemon.configure(text + upstream_lines(postfix.starttls)).start()
    tracker = trac(daemon.port)
    ticket(tracker, cc="", owner="")
    postfix.wait(2)  # dana, list
    tracker.ask("change", number=1, author="luc", comment="Geölt. Läuft.", fields={"owner": "luc", "priority": "minor"})
    postfix.wait(5)  # dana, luc, list
    tracker.ask("attach", number=1, author="dana", name="crane.txt", text="oil")
    postfix.wait(8)
    mails = [m for m in postfix.mails() if m.recipient == "list@example.org"]
    assert [m.message["Subject"] for m in mails] == [
        "[Harbour] #1: Kran klemmt: prüfen",
        "Re: [Harbour] #1: Kran klemmt: prüfen",
        "Re: [Harbour] #1: Kran klemmt: prüfen",
    ]
    assert "Changes (by luc):" in mails[1].text
    assert 'Attachment "crane.txt" added' in mails[2].text
    assert mails[1].field("In-Reply-To") == mails[0].field("Message-ID")


@pytest.mark.real
def test_one_bad_recipient_is_reported_and_the_others_get_the_mail(daemon, postfix):
    daemon.configure(
        f"""
        [retry]
        report_to = admin@example.com

        [notification]
        smtp_enabled = true
        smtp_from = bugs@example.com
        smtp_server = 127.0.0.1
        smtp_port = {postfix.plain}
        use_tls = false
        mime_encoding = none
        """
    ).start()
    daemon.send(
        b"Subject: hi\r\nX-Trac-Project: Harbour\r\n\r\nhello\r\n",
        ["a@example.org", "nobody@example.org", "b@example.org"],
    )
    stored = postfix.wait(3)
    assert set(stored) == {"a@example.org", "b@example.org", "admin@example.com"}
    report = stored["admin@example.com"].message
    assert stored["admin@example.com"].envelope_from == "<>"
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    assert report["Auto-Submitted"] == "auto-replied"
    human, status, header = report.iter_parts()
    assert "nobody@example.org" in human.get_content()
    groups = status.get_payload()
    assert groups[1]["Final-Recipient"] == "rfc822; nobody@example.org"
    assert groups[1]["Action"] == "failed"
    assert groups[1]["Status"] == "5.1.1"
    assert groups[1]["Diagnostic-Code"].startswith("smtp; 550 5.1.1")
    assert "[Harbour] hi" in header.as_string()
    assert re.search(r"to=<nobody@example\.org>.*dsn=5\.1\.1, status=bounced \(550 ", daemon.log())


@pytest.mark.real
def test_eight_bit_mail_and_a_hop_without_8bitmime(daemon, postfix):
    config = """
        [notification]
        smtp_enabled = true
        smtp_from = bugs@example.com
        smtp_server = 127.0.0.1
        smtp_port = {}
        use_tls = false
        mime_encoding = none
        """
    raw = "Subject: hi\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nhélas\r\n"
    for port, scheme in ((postfix.plain, "8bit"), (postfix.seven_bit, "quoted-printable")):
        daemon.configure(config.format(port)).start()
        postfix.empty()
        daemon.send(raw.encode())
        mail = postfix.wait(1)["eve@example.org"]
        assert mail.field("Content-Transfer-Encoding") == scheme
        assert mail.text == "hélas"
        daemon.stop()


@pytest.mark.real
def test_a_wrong_password_waits_and_is_tried_once(daemon, postfix, upstream_lines):
    daemon.configure(NOTIFICATION + upstream_lines(postfix.starttls))
    (daemon.folder / "password").write_text("wrong")
    before = len(postfix.log())
    daemon.start()
    for number in range(5):
        daemon.send(f"Subject: {number}\r\n\r\nx\r\n".encode())
    daemon.wait_log(r"status=deferred \(454 4\.7\.8 log-in as relay user refused: 535")
    time.sleep(3)
    assert "bounced" not in daemon.log()
    assert re.findall(r"SASL (\S+) authentication failed", postfix.log()[before:]) == ["SCRAM-SHA-256"]
    assert postfix.mails() == []


@pytest.mark.real
def test_a_certificate_fault_waits_and_sends_nothing(daemon, postfix, upstream_lines):
    lines = re.sub(r"tls_ca_file.*\n", "", upstream_lines(postfix.starttls))
    daemon.configure(NOTIFICATION + lines).start()
    daemon.send(b"Subject: x\r\n\r\nx\r\n")
    daemon.wait_log(r"status=deferred \(454 4\.7\.5 TLS failed: certificate not accepted")
    assert "sasl_method" not in postfix.log()[-2000:]
    assert postfix.mails() == []


@pytest.mark.real
def test_swaks_as_a_client(daemon, postfix, tmp_path):
    daemon.configure(
        f"""
        [notification]
        smtp_enabled = true
        smtp_from = bugs@example.com
        smtp_server = 127.0.0.1
        smtp_port = {postfix.plain}
        use_tls = false
        mime_encoding = auto
        """
    ).start()
    attachment = tmp_path / "big.bin"
    attachment.write_bytes(bytes(range(256)) * 12_000)  # 3 MiB: lies in a file of the spool
    arguments = [
        "swaks",
        "--server",
        "127.0.0.1",
        "--port",
        str(daemon.port),
        "--from",
        "x@example.com",
        "--to",
        "a@example.org,b@example.org",
    ]
    arguments += ["--pipeline", "--attach", f"@{attachment}", "--header", "Subject: swaks", "--body", "hélas"]
    result = subprocess.run(arguments, capture_output=True, timeout=60)
    assert result.returncode == 0, result.stdout[-2000:]
    assert b"250 2.0.0 queued as " in result.stdout
    stored = postfix.wait(2)
    assert set(stored) == {"a@example.org", "b@example.org"}
    [part] = [p for p in stored["a@example.org"].message.walk() if p.get_filename()]
    assert part.get_content() == attachment.read_bytes()
