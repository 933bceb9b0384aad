"""Real tracker mail through the whole daemon under each mime_encoding, into the outbox."""

import email
import email.policy
import json
import re
from pathlib import Path

import pytest

MAILS = sorted((Path(__file__).parents[1] / "data" / "tracker-mail").glob("*.eml"))
ENCODINGS = ["none", "qp", "base64", "auto", "keep"]


def texts(raw):
    message = email.message_from_bytes(raw, policy=email.policy.default)
    return ["\n".join(p.get_content().splitlines()) for p in message.walk() if p.get_content_maintype() == "text"]


def structure(raw):
    return [(p.get_content_type(), p.get_content_charset()) for p in email.message_from_bytes(raw).walk()]


def fields(raw):
    header = raw.partition(b"\r\n\r\n")[0] + b"\r\n"
    return re.findall(rb"[^\r\n:]+:(?:[^\r\n]|\r\n[ \t])*\r\n", header)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_fourteen_mails(daemon, encoding):
    daemon.configure(
        f"""
        [notification]
        smtp_enabled = true
        smtp_from = bot@relay.example.com
        smtp_default_domain = corp.example.com
        smtp_always_bcc = audit@example.org
        mime_encoding = {encoding}
        """
    ).start()
    assert len(MAILS) == 14
    sent = []
    for path in MAILS:
        facts = json.loads(path.with_suffix(".json").read_text())
        raw = path.read_bytes()
        daemon.send(raw, facts["envelope"]["rcpt_tos"], facts["envelope"]["mail_from"])
        sent.append((raw, facts))
    daemon.stop()
    daemon.start()  # whatever was still queued leaves now
    daemon.wait_log(r"(?s)(?:status=sent.*){14}")
    mails = daemon.outbox()
    assert len(mails) == 14
    for (raw, envelope), (before, facts) in zip(mails, sent, strict=True):  # names sort by age
        assert texts(raw) == texts(before)
        assert structure(raw) == structure(before)
        check_lines(raw, encoding)
        check_header(raw, before, facts, envelope)


def check_lines(raw, encoding):
    assert b"\n" not in raw.replace(b"\r\n", b"")
    header, _, body = raw.partition(b"\r\n\r\n")
    assert max(map(len, header.split(b"\r\n"))) <= 998
    message = email.message_from_bytes(raw)
    schemes = {
        (p["Content-Transfer-Encoding"] or "7bit").lower() for p in message.walk() if p.get_content_maintype() == "text"
    }
    if encoding in ("qp", "base64"):
        assert schemes == {"quoted-printable" if encoding == "qp" else "base64"}
        for part in message.walk():
            if part.get_content_maintype() == "text":
                assert max(map(len, part.get_payload().splitlines())) <= 76
    if encoding == "none":
        assert schemes <= {"7bit", "8bit"}
        assert ("8bit" in schemes) == (not body.isascii())
    if encoding == "auto":
        assert body.isascii()


def check_header(raw, before, facts, envelope):
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert envelope["from"] == "bot@relay.example.com"
    assert message["From"].addresses[0].addr_spec == "bot@relay.example.com"
    assert message["From"].addresses[0].display_name == facts["facts"]["project"]
    assert [f for f in fields(raw) if f.lower().startswith(b"to:")] == [b"To: undisclosed-recipients: ;\r\n"]
    assert message["Cc"] is None
    assert f"[{facts['facts']['project']}]" in message["Subject"]
    assert facts["facts"]["summary"] in re.sub(r"\s+", " ", message["Subject"])
    addresses = {r["address"] for r in envelope["to"]}
    expected = {r if "@" in r else f"{r}@corp.example.com" for r in facts["envelope"]["rcpt_tos"]}
    assert addresses == expected | {"audit@example.org"}
    assert b"audit@" not in raw
    touched = (b"from", b"to", b"cc", b"subject", b"content-transfer-encoding", b"reply-to")
    kept = [f for f in fields(before) if f.partition(b":")[0].lower() not in touched]
    assert [f for f in kept if f not in fields(raw)] == []
