"""The verdict on a mail that has left: all that is wrong with it, in words. It uses nothing of relay/, as the oracle."""

import binascii
import quopri
import re
from collections import Counter

from tests.mails.oracle import (
    ADDABLE,
    HIDING,
    IDS,
    LISTING,
    NOBODY,
    WRITTEN,
    author,
    boxes,
    expected,
    fields_of,
    key,
    raw_of,
    read,
    squeeze,
)

SEALED = ("multipart/signed", "multipart/encrypted")


def deviations(world, came, envelope, left, reverse_path, recipients, facts):
    """All that is wrong with a mail that has left, in words; `came` and `left` are octets."""
    want = expected(world, came, envelope["mail_from"], envelope["rcpt_tos"], facts)
    found = []

    def say(what, is_, should):
        if is_ != should:
            found.append(f"{what}: {is_!r} instead of {should!r}")

    old, new = read(came), read(left)
    say("recipients", {key(r) for r in recipients}, want["rcpt"])
    say("recipients twice", len(recipients), len({key(r) for r in recipients}))
    if world.options.get("rewrite") != "off":
        say("reverse-path", reverse_path, want["mail_from"])
        say("To", {key(a) for _, a in boxes(new, "to")}, want["to"])
        say("Cc", {key(a) for _, a in boxes(new, "cc")}, want["cc"])
        say("number of To", len(new.get_all("to", [])), 1)
        say("number of Cc", len(new.get_all("cc", [])), int(bool(want["cc"])))
        if not want["to"]:
            say("To nobody", re.sub(r"(?<=:)(?=;)", " ", squeeze(str(new["to"]))), NOBODY)
        if want["from"]:
            say("From", author(left), want["from"])
            say("Sender", new["sender"], None)
        else:
            say("From kept", raw_of(left, "from"), raw_of(came, "from"))
        say("Reply-To", [key(a) for _, a in boxes(new, "reply-to")], want["reply"])
        if want["subject"] is not None:
            say("Subject", squeeze(str(new["subject"])), want["subject"])
        elif all(raw.isascii() for raw in raw_of(came, "subject")):
            say("Subject kept", raw_of(left, "subject"), raw_of(came, "subject"))
    found += _header(world, came, left, recipients, want)
    found += _body(world, came, old, left, new)
    return found


def _header(world, came, left, recipients, want):
    """What is wrong with the header section as such."""
    before, after = fields_of(came), fields_of(left)
    off = world.options.get("rewrite") == "off"
    loose = {*LISTING, *(() if off else WRITTEN), "content-transfer-encoding"}
    before = [(name, raw) for name, raw in before if raw.partition(b":")[2].strip() or name not in ADDABLE]
    kept = [raw for name, raw in before if name not in loose and raw.isascii() and b"@>" not in raw]
    kept = [re.sub(rb"\r\n[ \t]+(?=\r\n)", b"", raw) for raw in kept if max(map(len, raw.split(b"\r\n"))) <= 998]
    found = [f"lost or changed: {raw!r}" for raw in (Counter(kept) - Counter(raw for _, raw in after))]
    order = [raw for _, raw in after if raw in kept]
    if order != [raw for raw in kept if raw in order]:
        found.append("fields in another order")
    names = {name for name, _ in before}
    new = Counter(name for name, _ in after) - Counter(name for name, _ in before)
    allowed = {*ADDABLE, *(() if off else WRITTEN)}
    found += [f"added: {name}" for name in new if name not in allowed or (name in names and name in ADDABLE[2:])]
    for name, raw in after:
        if not raw.isascii():
            found.append(f"8-bit in the header: {raw!r}")
        if max(map(len, raw.split(b"\r\n"))) > 998 or not raw.strip():
            found.append(f"long or empty: {raw!r}")
        written = (name, raw) not in before
        if written and (name in WRITTEN or not raw.isascii()):
            if any(len(line) > 76 and b"=?" in line for line in raw.split(b"\r\n")):
                found.append(f"a long line with encoded words: {raw!r}")
            if any(len(word) > 75 for word in re.findall(rb"=\?[^?]+\?[bBqQ]\?[^?]*\?=", raw)):
                found.append(f"a long encoded word: {raw!r}")
            if name != "subject" and any(b"=?" in quoted for quoted in re.findall(rb'"(?:[^"\\]|\\.)*"', raw)):
                found.append(f"an encoded word in quotes: {raw!r}")
    visible = want["to"] | want["cc"]
    shown = {"@".join(mailbox).lower() for mailbox in visible}  # where only the case differs, the text does not tell
    secret = [r.lower() for r in recipients if key(r) not in visible and r.lower() not in shown]
    for name, raw in after:
        ours = (name in ("received", "x-tracker-relay", *WRITTEN[:5]) and (name, raw) not in before) and not off
        if (name in LISTING and not off) or ours or name in HIDING:
            text = str(read(raw + b"\r\n").get(name, "")).lower() + raw.decode("latin-1").lower()
            told = [s for s in secret if re.search(rf"(?<![\w.+-]){re.escape(s)}(?![\w-])", text)]
            found += [f"{name} tells of {s}" for s in told if name != "reply-to" or key(s) not in want["reply"]]
            if name in HIDING:
                found.append(f"{name} is still there")
    for name in IDS:
        old, now = raw_of(came, name), raw_of(left, name)
        if (
            old
            and old[0].partition(b":")[2].strip()
            and b"@>" not in b"".join(old)
            and max(map(len, old[0].split(b"\r\n"))) <= 998
            and now != old
        ):
            found.append(f"{name} changed: {old} {now}")
        if b"@>" in b"".join(now) and not off:
            found.append(f"{name} without a host: {now}")
    for name in ("date", "message-id") + (() if off else ("precedence", "auto-submitted")):
        if len(raw_of(left, name)) != max(1, len(raw_of(came, name))):
            found.append(f"number of {name}")
    return found


def leaves(message, sealed=False):
    """Every part without parts, and whether nothing in it may be changed."""
    sealed = sealed or message.get_content_type() in ("multipart/signed", "multipart/encrypted")
    if message.is_multipart() and message.get_content_maintype() == "multipart":
        for part in message.iter_parts():
            yield from leaves(part, sealed)
    else:
        yield message, sealed or message.get_content_maintype() == "message"


def content(part):
    if part.is_multipart():
        return part.get_payload(0).as_bytes()
    return part.get_payload(decode=True)


def defects_of(message):
    return Counter(type(d).__name__ for part in message.walk() for d in part.defects)


def _body(world, came, old, left, new):
    """What is wrong with the body."""
    found = []
    if re.search(rb"\r(?!\n)|(?<!\r)\n|\0", left):
        found.append("a bare CR or LF, or NUL")
    if max(map(len, left.split(b"\r\n"))) > 998:
        found.append("a line of over 998 octets")
    defects = defects_of(new) - defects_of(old)
    if defects:
        found.append(f"defects: {dict(defects)}")
    body, now = (octets.partition(b"\r\n\r\n")[2] for octets in (came, left))
    encoding = world.options["mime_encoding"]
    long = max(map(len, body.split(b"\r\n"))) > 998
    untouched = encoding == "keep" or world.options.get("rewrite") == "off" or old.get_content_type() in SEALED
    if untouched and not long and body != now:
        found.append("the body changed")
    before, after = list(leaves(old)), list(leaves(new))
    guessed = {} if "content-type" in old else {"us-ascii": None, "utf-8": None}
    types = [
        [(p.get_content_type(), p.get_filename(), guessed.get(c := p.get_content_charset(), c)) for p, _ in ps]
        for ps in (before, after)
    ]
    if types[0] != types[1]:
        return [*found, f"parts: {types[1]} instead of {types[0]}"]
    for (one, sealed), (other, _) in zip(before, after, strict=True):
        text = one.get_content_maintype() == "text" and not one.get_filename()
        text = text and one.get_content_disposition() != "attachment" and not sealed
        a, b = content(one), content(other)
        if text:
            a, b = (re.sub(rb"\r*\n", b"\n", octets) for octets in (a, b))
            if a and not new.is_multipart() and _scheme(other) in ("7bit", "8bit") and not a.endswith(b"\n"):
                a += b"\n"  # a line that is sent as it is has an end
            if "CloseBoundaryNotFoundDefect" in defects_of(old):
                a, b = a.rstrip(b"\n"), b.rstrip(b"\n")
        if a != b:
            found.append(f"{one.get_content_type()}: {b[:300]!r} instead of {a[:300]!r}")
        if not text and not long and _payload(one) != _payload(other):
            found.append(f"{one.get_content_type()}: encoded otherwise")
        if text and not untouched:
            found += _encoded(encoding, one, other, a)
    return found


def _payload(part):
    return None if part.is_multipart() else part.get_payload().rstrip("\n")


def _scheme(part):
    written = str(part.get("content-transfer-encoding", "7bit")).strip().lower() or "7bit"
    return re.sub("^([78])[- ]?bits?$", r"\1bit", written)


def _encoded(encoding, one, other, text):
    """Whether a text part is in the encoding that was asked for; `text` is its decoded content."""
    if _scheme(one) not in ("7bit", "8bit", "binary", "base64", "quoted-printable") or (one.defects and not text):
        return [] if _payload(one) == _payload(other) else ["what can not be read was changed"]
    if any(type(d).__name__.startswith("InvalidBase64") for d in one.defects):
        return []
    if str(one.get_content_charset()).startswith("utf-16") or not text:
        return []
    plain = max(map(len, text.split(b"\n"))) <= 998
    sizes = {
        "base64": len(binascii.b2a_base64(text.replace(b"\n", b"\r\n"))) * 78 / 76,
        "quoted-printable": len(quopri.encodestring(text)) + text.count(b"\n"),
    }
    fits = "7bit" if plain and text.isascii() else ""
    want = {
        "base64": ["base64"],
        "qp": ["quoted-printable"],
        "none": [fits or ("8bit" if plain else "quoted-printable")],
        "none7": [fits or "quoted-printable"],
        "auto": [fits] if fits else [s for s in sizes if sizes[s] <= min(sizes.values()) * 1.05 + 4],
    }[encoding]
    scheme = _scheme(other)
    found = [] if scheme in want else [f"{one.get_content_type()} left as {scheme}, not {want}"]
    raw = content(other)
    if scheme in sizes:
        raw = other.get_payload().encode("ascii", "surrogateescape")
    if scheme in ("base64", "quoted-printable") and max(map(len, raw.splitlines() or [b""])) > 76:
        found.append(f"a line of over 76 columns in {scheme}")
    if scheme != "8bit" and not raw.isascii():
        found.append(f"8-bit octets in {scheme}")
    return found
