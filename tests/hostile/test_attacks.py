"""The list of attacks, each by its name, on a running daemon; its next hop is strict and keeps every octet.

Whatever is sent: the replies are the right ones, what is taken arrives once and is one well-formed mail,
nothing of it forges a line of the log, and the daemon goes on.
"""

import email
import itertools
import re

import pytest

from relay.message import parse_bytes
from tests.hostile.mails import ATTACHED, MAILS
from tests.hostile.paths import LOOK_ALIKE, OPAQUE, REFUSED
from tests.hostile.replies import REPLIES
from tests.hostile.session import ATTACKS, BEGIN, GO, TAG

NUMBERS = itertools.count(1)


def tagged():
    return b"r%d-@example.org" % next(NUMBERS)


def codes_of(answers):
    """The code of each reply behind the greeting; every line is one of a reply."""
    lines = answers.split(b"\r\n")
    assert lines.pop() == b""
    assert lines[0].startswith(b"220 ")
    assert all(re.fullmatch(rb"[2345]\d\d[ -][ -~]*", line) for line in lines), lines
    return [line[:3].decode() for line in lines[1:] if line[3:4] == b" "]


def fit(codes, pattern):
    """True when the codes are those of the pattern; `*` repeats what stands before it."""
    parts = re.sub(r"(\S+) \*", r"(?:\1 )+", pattern)
    joined = "".join(
        part if part.startswith("(") else f"(?:{part}) " for part in re.split(r"(\(\?:\S+ \)\+)| ", parts) if part
    )
    return re.fullmatch(joined, "".join(f"{code} " for code in codes))


@pytest.mark.parametrize("name", ATTACKS)
def test_session(world, name):
    attack, tag = ATTACKS[name], tagged()
    said = [attack.said] if isinstance(attack.said, bytes) else attack.said
    codes = codes_of(world.say([piece.replace(TAG, tag) for piece in said], pause=attack.pause))
    assert fit(codes, attack.codes), codes[-20:]
    mails = world.arrived(tag, attack.mails)
    assert len(mails) == attack.mails
    assert all(attack.content in mail.content for mail in mails)
    assert all(mail.recipients == [b"<" + tag + b">"] for mail in mails)


@pytest.mark.parametrize("path", REFUSED)
def test_an_address_that_is_none(world, path):
    octets = path.encode()
    mail = b"RCPT TO:" + octets + b"\r\nDATA\r\nQUIT\r\n"
    codes = codes_of(world.say(b"EHLO x\r\nMAIL FROM:" + octets + b"\r\nMAIL FROM:<h@t.example.com>\r\n" + mail))
    assert codes == ["250", "553", "250", "553", "554", "221"] or codes[1] == codes[3] == "555"


@pytest.mark.parametrize("local", OPAQUE)
def test_a_local_part_leaves_as_it_came_or_not_at_all(world, local):
    tag = b"h%d.example.org" % next(NUMBERS)
    path = b"<" + local.encode() + b"@" + tag + b">"
    codes = codes_of(
        world.say(BEGIN.replace(b"<" + TAG + b">", path) + b"DATA\r\nSubject: x\r\n\r\n" + tag + b"\r\n.\r\nQUIT\r\n")
    )
    if codes[2] == "553":
        return
    assert fit(codes, GO + "250 221")
    [mail] = world.arrived(tag, 1)
    assert mail.recipients == [path]


@pytest.mark.parametrize("address", LOOK_ALIKE)
def test_an_address_that_looks_like_another(world, address):
    marked = f"n{next(NUMBERS)}-{address}"
    said = BEGIN.replace(b".com>", b".com> SMTPUTF8").replace(TAG, marked.encode())
    codes = codes_of(world.say(said + b"DATA\r\nSubject: x\r\n\r\n" + marked.encode() + b"\r\n.\r\nQUIT\r\n"))
    if codes[2] == "553":
        return
    [mail] = world.arrived(marked.split("@", maxsplit=1)[0].encode(), 1)
    [line] = mail.recipients
    assert line.split(b">")[0].removeprefix(b"<").decode().split("@")[0] == marked.split("@", maxsplit=1)[0]


def body_of(octets):
    message = parse_bytes(octets)
    return message.body.read(0, message.body.size)


@pytest.mark.parametrize("name", MAILS)
def test_mail(world, name):
    attack, tag = MAILS[name], tagged()
    octets = (b"\r\n" + attack.octets).replace(b"\r\n.", b"\r\n..")[2:]
    codes = codes_of(world.say(BEGIN.replace(TAG, tag) + b"DATA\r\n" + octets + b".\r\nQUIT\r\n"))
    assert fit(codes, GO + f"{attack.code} 221"), codes
    if attack.code != 250:
        return
    if attack.held:
        world.daemon.wait_log(rf"to=<{tag.decode()}>.*status=(bounced|held) .*line of over 998")
        return
    [mail] = world.arrived(tag, 1)
    well_formed(mail, attack)


def well_formed(mail, attack):
    octets = mail.content
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", octets)
    assert max(map(len, mail.octets.split(b"\r\n"))) <= 998
    message = parse_bytes(octets)
    assert message.header_bytes.isascii()
    assert octets.isascii() or b"BODY=8BITMIME" in mail.sender
    names = [field.name for field in message.fields]
    assert all(names)
    assert "x-injected" not in names
    for name in ("from", "date", "message-id", "received", "x-tracker-relay"):
        assert names.count(name) >= 1, name
    for name in ("from", "to", "subject", "reply-to", "sender"):
        assert names.count(name) <= 1 or (name == "subject" and attack.octets.lower().count(b"\r\nsubject:") > 1)
    assert b"hidden@" not in octets
    if attack.same:
        assert body_of(octets) == body_of(attack.octets)
    if ATTACHED in attack.octets:
        [part] = [part for part in email.message_from_bytes(octets).walk() if part.get_filename()]
        assert part.get_payload(decode=True) == ATTACHED


@pytest.mark.parametrize("when", ["rcpt", "dot"])
@pytest.mark.parametrize("name", REPLIES)
def test_reply_of_a_next_hop(world, name, when):
    """It is one line of the log, nothing is stuck behind it, and the next mail leaves."""
    tag = b"reply-%d-%b@x%d.example.org" % (list(REPLIES).index(name), when.encode(), next(NUMBERS))
    mail = b"DATA\r\nSubject: x\r\nMessage-ID: <" + tag + b">\r\n\r\nx\r\n.\r\nQUIT\r\n"
    codes = codes_of(world.say(BEGIN.replace(TAG, tag) + mail))
    assert fit(codes, GO + "250 221")
    found = world.daemon.wait_log(rf"(?m)^.*to=<{tag.decode()}>.*status=\w+ .*$")
    assert len(found[0]) < 3000
    after = tagged()
    world.say(BEGIN.replace(TAG, after) + mail.replace(tag, after))
    assert len(world.arrived(after, 1)) == 1


def test_it_goes_on(world):
    """Behind all of that: a mail is relayed, a client is greeted, and memory never grew by more than 64 MiB."""
    assert world.memory("VmHWM") - world.at_first < 64 << 20
    assert world.greeted() < 1
    tag = tagged()
    world.say(BEGIN.replace(TAG, tag) + b"DATA\r\nSubject: x\r\n\r\nlast\r\n.\r\nQUIT\r\n")
    assert len(world.arrived(tag, 1)) == 1
