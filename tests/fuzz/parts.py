"""Every body falls into parts that lie within each other and in order, or into one; re-encoded or made fit for the wire, it has the same parts with the same contents, and signed ones keep every octet.

The MIME scanner, and all that changes bodies with its help (RFC 2045, 2046, 6152).
"""

import re

from relay import downgrade, mime
from relay.message import parse_bytes, pieces
from relay.scan import TooComplex, scan
from relay.transfer import Undecodable, decoded
from tests.fuzz.engine import dice
from tests.fuzz.mails import TOKENS, seeds
from tests.properties.test_corpus import admitted

NAME = "parts"
SHARE = 2
CASES = 900
__all__ = ["CASES", "NAME", "SHARE", "TOKENS", "check", "seeds"]
ENCODINGS = ("base64", "qp", "none", "auto")


def check(data):
    """One mail, in one encoding and in both forms for the wire."""
    octets = admitted(data)
    if octets is None:
        return 0
    message = parse_bytes(octets)
    try:
        parts = scan(message)
    except TooComplex:
        for encoding in ENCODINGS:
            assert bytes(mime.reencode(message, encoding).message) == octets
        return 1
    _nested(message, parts)
    before = contents(message, parts)
    made = mime.reencode(message, dice(data).choice(ENCODINGS)).message
    for changed in (made, downgrade.seven_bit(message), downgrade.short_lines(message), downgrade.seven_bit(made)):
        if changed is None:
            continue
        found = parse_bytes(bytes(changed))
        after = contents(found, scan(found))
        assert after == before, (before, after)
    seven = downgrade.seven_bit(message)
    assert seven is None or all(piece.isascii() for piece in pieces(seven.body))
    return 1


def _nested(message, parts):
    around = []
    for part in parts:
        assert 0 <= part.start <= part.body <= part.end <= message.body.size, part
        while around and around[-1].depth >= part.depth:
            around.pop()
        if around:
            # Where one delimiter follows right upon another, an empty part lies within the line end between them.
            end = around[-1].end + 2 * (part.body == part.end and part.sealed != "")
            assert around[-1].body <= part.start and part.end <= end, (around[-1], part)
            assert around[-1].depth == part.depth - 1
        around.append(part)


def contents(message, parts):
    """Of each part: what it is, and its content behind the transfer encoding (line ends alike, blank ones at the end left out); a sealed one's octets."""
    found = []
    for part in parts:
        raw = message.body.read(part.body, part.end)
        if not part.leaf or part.sealed:
            found.append((part.depth, part.type.kind, raw if part.leaf else None))
            continue
        try:
            text = b"".join(decoded(iter((raw,)), part.scheme)) if part.scheme else raw
        except Undecodable:
            text = raw
        found.append((part.depth, part.type.kind, re.sub(rb"\r*\n", b"\n", text).rstrip(b"\n")))
    return found
