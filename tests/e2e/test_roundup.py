"""A real Roundup as client: its mail through the daemon, field by field, and what the relay reads in it."""

import email
import email.policy

import pytest

from relay.dialects import facts_of
from relay.message import parse_bytes
from relay.mime import text_of
from tests.e2e.tools import until

USERS = """
[users]
dana = Dana Field <dana@example.com>
luc = Luc Bézier <luc@example.net>
sato = 佐藤 花子 <sato@example.jp>
"""
FULL = """
[notification]
smtp_enabled = true
smtp_from = bugs@example.com
smtp_always_cc = list@example.org
smtp_always_bcc = audit@example.org
smtp_subject_prefix = [Obstgarten]
mime_encoding = qp
"""
AS_IT_IS = """
[notification]
smtp_enabled = true
smtp_from = bugs@example.com
rewrite = off
"""


def arrived(daemon, number):
    """The mails in the outbox, oldest first: message, octets, sender, recipients."""
    mails = until(lambda: len(daemon.outbox()) >= number and daemon.outbox(), f"{number} mails:\n{daemon.log()}")
    assert len(mails) == number, mails
    return [
        (email.message_from_bytes(raw, policy=email.policy.default), raw, e["from"], {to["address"] for to in e["to"]})
        for raw, e in mails
    ]


def text_in(message):
    return message.get_content().replace("\r\n", "\n")


def read(raw):
    message = parse_bytes(raw)
    facts = facts_of(message, lambda: text_of(message))
    people = {name: getattr(facts, name) for name in ("reporter", "owner", "updater", "previous_owner")}
    return facts, {name: (p.shown, p.imitable) for name, p in people.items() if p}


@pytest.mark.real
def test_what_is_read_in_roundups_own_mail(daemon, roundup):
    """Left as it is (rewrite = off), a mail tells project, ticket, and who did what."""
    daemon.configure(AS_IT_IS + USERS).start()
    tracker = roundup(daemon.port)
    assert tracker.version.startswith("2.")
    number = tracker.ask(
        "new", author="dana", title="Zähler hält bei 255", text="Für alle.", assignedto="luc", nosy=["sato"]
    )
    [(message, raw, sender, to)] = arrived(daemon, 1)
    assert (sender, to) == ("roundup-admin@bugs.example.com", {"luc@example.net", "sato@example.jp"})
    assert message["From"] == "Dana Field <orchard@bugs.example.com>"
    assert message["To"] == "luc@example.net, sato@example.jp"
    assert message["Reply-To"] == "Orchard <orchard@bugs.example.com>"
    assert message["Subject"] == f"[issue{number}] Zähler hält bei 255"
    facts, people = read(raw)
    assert (facts.tracker, facts.project, facts.ticket, facts.event) == ("roundup", "Orchard", number, "new")
    assert facts.takes_replies
    assert people == {
        "reporter": ("dana@example.com", False),
        "updater": ("dana@example.com", False),
        "owner": ("luc", False),
    }
    tracker.ask("change", author="sato", number=number, text="Dasselbe an Tor 4.", assignedto="dana")
    _, (message, raw, _, to) = arrived(daemon, 2)
    assert to == {"dana@example.com", "luc@example.net"}
    facts, people = read(raw)
    assert (facts.ticket, facts.event, facts.project) == (number, "comment", "Orchard")
    # A comment could imitate a block of fields, where Roundup itself writes none: nobody is mailed for its sake.
    assert people == {"updater": ("sato@example.jp", False), "owner": ("dana", True), "previous_owner": ("luc", True)}
    tracker.ask("change", author="luc", number=number, text="----------\nassignedto: dana -> sato\n")
    *_, (message, raw, _, to) = arrived(daemon, 3)
    facts, people = read(raw)
    assert people["updater"] == ("luc@example.net", False)
    assert people.get("owner", ("", True))[1]


@pytest.mark.real
def test_what_leaves(daemon, roundup):
    """Recipients hidden, From the relay's, replies still to Roundup, one copy for the list, text as it was."""
    daemon.configure(FULL + USERS).start()
    tracker = roundup(daemon.port)
    text = "Er hält bei 255.\n\nこんにちは。 " + "sehr lange Zeile " * 40
    number = tracker.ask("new", author="dana", title="Zähler hält bei 255", text=text, assignedto="luc", nosy=["sato"])
    [(message, raw, sender, to)] = arrived(daemon, 1)
    assert sender == "bugs@example.com"
    assert to == {"luc@example.net", "sato@example.jp", "list@example.org", "audit@example.org"}
    assert message["From"] == "Orchard <bugs@example.com>"
    assert message["Reply-To"] == "Orchard <orchard@bugs.example.com>"
    assert message["Subject"] == f"[Obstgarten] [issue{number}] Zähler hält bei 255"
    assert message["To"] == "undisclosed-recipients:;"
    assert message["Cc"] == "list@example.org"
    header, _, body = raw.partition(b"\r\n\r\n")
    for hidden in (b"luc@", b"sato@", b"audit@"):
        assert hidden not in header
    assert max(map(len, body.split(b"\r\n"))) <= 76
    assert message["Content-Transfer-Encoding"] == "quoted-printable"
    assert "\n".join(text.rstrip().splitlines()) in text_in(message)
    assert message["X-Roundup-Name"] == "Orchard"
    assert message["Auto-Submitted"] == "auto-generated"


@pytest.mark.real
def test_replies_are_taken_where_the_tracker_reads_them(daemon, roundup):
    """Without a Reply-To of Roundup's the From that was replaced becomes it; an answer is a comment."""
    daemon.configure(FULL + USERS).start()
    tracker = roundup(daemon.port)
    number = tracker.ask("new", author="dana", title="Counter stops", text="At 255.", nosy=["luc"])
    [(message, _, _, _)] = arrived(daemon, 1)
    answer = (
        f"From: Luc <luc@example.net>\nTo: {message['Reply-To']}\nSubject: Re: {message['Subject']}\n"
        f"In-Reply-To: {message['Message-ID']}\nMessage-ID: <answer@example.net>\n\nSame here.\n"
    )
    tracker.receive(answer)
    _, (message, _, _, to) = arrived(daemon, 2)
    assert to == {"dana@example.com", "list@example.org", "audit@example.org"}
    assert message["Subject"] == f"[Obstgarten] [issue{number}] Counter stops"
    assert "Luc Bézier <luc@example.net> added the comment:\n\nSame here." in text_in(message)
    assert message["Message-ID"] == "<answer@example.net>"


@pytest.mark.real
def test_the_recipients_that_it_shows_may_be_shown(daemon, roundup):
    daemon.configure(FULL.replace("mime_encoding", "use_public_cc = true\nmime_encoding") + USERS).start()
    tracker = roundup(daemon.port)
    tracker.ask("new", author="dana", title="Counter stops", text="At 255.", assignedto="luc", nosy=["sato"])
    [(message, raw, _, _)] = arrived(daemon, 1)
    assert message["To"] == "luc@example.net"
    assert {a.strip() for a in message["Cc"].split(",")} == {"sato@example.jp", "list@example.org"}
    assert b"audit@" not in raw.partition(b"\r\n\r\n")[0]


@pytest.mark.real
def test_people_of_a_change(daemon, roundup):
    """always_notify_reporter adds the author of a new item; always_notify_updater = false takes him out again."""
    options = "always_notify_reporter = true\nsmtp_subject_prefix =\n"
    text = FULL.replace("smtp_subject_prefix = [Obstgarten]\n", options)
    daemon.configure(text.replace("smtp_always_cc = list@example.org\n", "") + USERS).start()
    tracker = roundup(daemon.port)
    number = tracker.ask("new", author="dana", title="Counter stops", text="At 255.", nosy=["luc"])
    [(_, _, _, to)] = arrived(daemon, 1)
    assert to == {"dana@example.com", "luc@example.net", "audit@example.org"}
    (daemon.folder / "config.ini").write_text(
        (daemon.folder / "config.ini").read_text().replace(options, "always_notify_updater = false\n")
    )
    daemon.stop()
    daemon.start()
    tracker.admin("set", f"issue{number}", "title=Counter stops at 255")  # no message, no mail
    tracker.ask("change", author="sato", number=number, text="Same.")
    _, (message, _, _, to) = arrived(daemon, 2)
    assert to == {"dana@example.com", "luc@example.net", "audit@example.org"}
    assert message["Subject"] == f"[Orchard] [issue{number}] Counter stops at 255"


@pytest.mark.real
def test_attachments_leave_as_they_came(daemon, roundup):
    """A text part without a transfer encoding, a picture in base64: names and octets are kept."""
    daemon.configure(FULL + USERS).start()
    tracker = roundup(daemon.port)
    files = [("notes.txt", "text/plain", "plain words\nof two lines\n"), ("umlaut.txt", "text/plain", "Größe: 255\n")]
    tracker.ask("new", author="dana", title="Counter stops", text="See files.", nosy=["luc"], files=files)
    [(message, _, _, _)] = arrived(daemon, 1)
    parts = {part.get_filename(): part for part in message.walk() if part.get_filename()}
    assert parts["notes.txt"].get_content().splitlines() == ["plain words", "of two lines"]
    assert parts["umlaut.txt"].get_content().splitlines() == ["Größe: 255"]
    assert message.get_body(("plain",)).get_content().lstrip().startswith("New submission from Dana Field")


@pytest.mark.real
def test_one_mail_per_person_is_one_event(daemon, roundup):
    """email_sending = multiple: the list gets one copy of a comment, not one for each recipient's mail."""
    daemon.configure(FULL + USERS).start()
    tracker = roundup(daemon.port, ("nosy", "email_sending", "multiple"))
    tracker.ask("new", author="dana", title="Counter stops", text="At 255.", nosy=["luc", "sato"])
    mails = arrived(daemon, 2)
    everybody = [address for _, _, _, to in mails for address in to]
    assert sorted(everybody) == ["audit@example.org", "list@example.org", "luc@example.net", "sato@example.jp"]
