"""The fault matrix: what an upstream does, and what must become of the mail.

Twelve faults at each of nine stages, and those that only one stage knows. Unless a row says otherwise the
relay demands STARTTLS and logs in, as for a provider: so each row also shows that nothing leaks.
"""

import base64
import time
from dataclasses import dataclass, field

from tests.faults.peer import FEATURES, close, drip, flood, garbage, half, reset, say, stall, then

RELAYED, DEFERRED, BOUNCED, HELD = "relayed", "deferred", "bounced", "held"


@dataclass(frozen=True)
class Case:
    """A row: `ends` is what the first attempt brings, a tuple where recipients differ.

    `says` stands in the history as the reason. `doubt`: the final dot went out and no answer came.
    `doubled`: the peer had taken the mail, so the cure brings a second one. `stubborn`: it is never cured, and
    at lifetime's end the mail ends like that. `lines` are further options of the next hop, until it is cured.
    """

    ends: object
    script: dict
    says: str = ""
    doubt: bool = False
    doubled: bool = False
    stubborn: str = ""
    rcpts: int = 1
    size: int = 0
    mails: int = 1
    implicit: bool = False
    lines: tuple = field(default=())


STAGES = {
    "greeting": "220 hello",
    "EHLO": "250 hello",
    "STARTTLS": "220 go",
    "EHLO again": "250 hello",
    "AUTH": "235 2.7.0 in",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go",
    "dot": "250 2.0.0 kept",
}
"""Each stage with the reply that is right there."""

FAULTS = {
    "421": "421 4.3.2 shutting down",
    "4xx": "451 4.3.0 not now",
    "5xx": "554 5.3.0 never",
    "stall": stall,
    "drip": drip,
    "close": close,
    "RST": reset,
    "garbage": garbage,
    "flood": flood,
    "half a reply": half,
    "lines that disagree": "250-one\r\n450 other",
    "another protocol": "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n",
}

SAID = {
    "421": "421 4.3.2 shutting down",
    "4xx": "451 4.3.0 not now",
    "5xx": "554 5.3.0 never",
    "stall": "the server did not answer in time",
    "drip": "the server did not answer in time",
    "close": "the server closed the connection",
    "half a reply": "the server closed the connection",
    "garbage": "no SMTP reply",
    "flood": "no SMTP reply",
    "another protocol": "no SMTP reply",
}


def _late_reset(talk):
    """An RST once the replies before it have arrived."""
    time.sleep(0.5)
    reset(talk)


def _deaf(_talk):
    """Read no more, for longer than the relay waits."""
    time.sleep(8)


def _everywhere():
    for stage in STAGES:
        for fault, step in FAULTS.items():
            refused = fault == "5xx" and stage in ("MAIL", "RCPT", "DATA", "dot")
            # A server that knows no EHLO is asked by HELO, and then it offers no TLS.
            said = "offers no STARTTLS" if (stage, fault) == ("EHLO", "5xx") else SAID.get(fault, "")
            lost = stage == "dot" and fault not in ("421", "4xx", "5xx")
            yield (
                f"{stage}: {fault}",
                Case(BOUNCED if refused else DEFERRED, {stage: step}, said, doubt=lost, doubled=lost),
            )


def _b64(text):
    return base64.b64encode(text.encode()).decode()


PLAIN = (("tls", "none"), ("smtp_user", ""))
NO_PIPELINING = FEATURES[1:]
THREE = {"rcpts": 3}

CODES = {
    "greeting 250": Case(DEFERRED, {"greeting": "250 hello"}),
    "greeting 354": Case(DEFERRED, {"greeting": "354 go"}),
    "greeting of three lines": Case(RELAYED, {"greeting": "220-one\r\n220-two\r\n220 three"}),
    "EHLO 354": Case(DEFERRED, {"EHLO": "354 go"}),
    "EHLO 500, and HELO offers no STARTTLS": Case(DEFERRED, {"EHLO": "500 5.5.1 what?"}),
    "EHLO 500, and HELO will do": Case(RELAYED, {"EHLO": "500 5.5.1 what?", "plain": True}, lines=PLAIN),
    "STARTTLS 250": Case(DEFERRED, {"STARTTLS": "250 ok"}),
    "STARTTLS 354": Case(DEFERRED, {"STARTTLS": "354 go"}),
    "AUTH 354": Case(DEFERRED, {"AUTH": "354 go"}),
    "AUTH 250, as good as 235": Case(RELAYED, {"AUTH": "250 in"}),
    "MAIL 354": Case(DEFERRED, {"MAIL": "354 go"}),
    "MAIL 251, as good as 250": Case(RELAYED, {"MAIL": "251 well"}),
    "RCPT 252, as good as 250": Case(RELAYED, {"RCPT": "252 2.5.2 perhaps"}),
    "RCPT 354": Case(DEFERRED, {"RCPT": "354 go"}),
    "RCPT 552, too many": Case(DEFERRED, {"RCPT": "552 5.5.3 too many"}, "452 4.5.3"),
    "DATA 250": Case(DEFERRED, {"DATA": "250 ok"}),
    "DATA 250 without PIPELINING": Case(DEFERRED, {"DATA": "250 ok", "features": NO_PIPELINING}),
    "DATA 334": Case(DEFERRED, {"DATA": "334 "}),
    "dot 251, as good as 250": Case(RELAYED, {"dot": "251 2.0.0 kept"}),
    "dot 299 of three lines": Case(RELAYED, {"dot": "299-one\r\n299-two\r\n299 three"}),
    "dot 354": Case(DEFERRED, {"dot": "354 go"}, doubt=True, doubled=True),
    "dot 600": Case(DEFERRED, {"dot": "600 high"}, doubt=True, doubled=True),
}

TWO = {
    "two greetings": Case(DEFERRED, {"greeting": say("220 one", "220 two")}),
    "two replies to EHLO": Case(DEFERRED, {"EHLO": say("250 one", "250 STARTTLS")}),
    "two replies to MAIL": Case(DEFERRED, {"MAIL": say("250 one", "250 two")}),
    "two replies to MAIL, no PIPELINING": Case(
        DEFERRED, {"MAIL": say("250 one", "250 two"), "features": NO_PIPELINING}
    ),
    "two replies to RCPT": Case(DEFERRED, {"RCPT": say("250 one", "250 two")}),
    "two replies to RCPT, the second 550": Case(BOUNCED, {"RCPT": say("250 one", "550 two")}),
    "354 twice": Case(DEFERRED, {"DATA": say("354 one", "354 two")}, doubt=True, doubled=True),
    "354, and 250 before the mail": Case(DEFERRED, {"DATA": say("354 go", "250 2.0.0 kept")}, doubt=True, doubled=True),
    "250 twice": Case(RELAYED, {"dot": say("250 2.0.0 kept", "250 2.0.0 kept")}),
    "250, then 554": Case(RELAYED, {"dot": say("250 2.0.0 kept", "554 5.0.0 no, after all")}),
    "250, then the end": Case(RELAYED, {"dot": then("250 2.0.0 kept", close)}),
    "250, then an RST": Case(RELAYED, {"dot": then("250 2.0.0 kept", reset)}),
    "250, then garbage": Case(RELAYED, {"dot": then("250 2.0.0 kept", garbage)}),
    "250, then 421": Case(RELAYED, {"dot": then("250 2.0.0 kept\r\n421 4.4.2 enough", close)}),
    "QUIT unanswered": Case(RELAYED, {"QUIT": stall}),
    "QUIT 554": Case(RELAYED, {"QUIT": "554 5.0.0 stay"}),
}

RECIPIENTS = {
    "one of three refused": Case((RELAYED, BOUNCED, RELAYED), {"RCPT:2": "550 5.1.1 nobody"}, **THREE),
    "one of three later": Case((RELAYED, DEFERRED, RELAYED), {"RCPT:2": "450 4.2.1 later"}, **THREE),
    "one of three refused, no PIPELINING": Case(
        (RELAYED, BOUNCED, RELAYED), {"RCPT:2": "550 5.1.1 nobody", "features": NO_PIPELINING}, **THREE
    ),
    "refused, later, taken, then 451": Case(
        (BOUNCED, DEFERRED, DEFERRED),
        {"RCPT:1": "550 5.1.1 nobody", "RCPT:2": "450 4.2.1 later", "dot": "451 4.3.0 not now"},
        **THREE,
    ),
    "421 at the third of three": Case((DEFERRED, DEFERRED, DEFERRED), {"RCPT:3": "421 4.3.2 enough"}, **THREE),
    "550 at the first, an RST at the second": Case(
        (BOUNCED, DEFERRED, DEFERRED), {"RCPT:1": "550 5.1.1 nobody", "RCPT:2": _late_reset}, **THREE
    ),
    "all refused, and 354 all the same": Case(BOUNCED, {"RCPT": "550 5.1.1 nobody", "DATA": "354 go"}),
    "one refused, then the reply is lost": Case(
        (BOUNCED, DEFERRED, DEFERRED),
        {"RCPT:1": "550 5.1.1 nobody", "dot": close},
        doubt=True,
        doubled=True,
        **THREE,
    ),
}

LARGE = 200_000
MORE_THAN_FITS = 6_000_000
"""Octets that no socket's buffers hold."""
CONTENT = {
    "an RST before the dot": Case(DEFERRED, {"content": reset}, doubt=True),
    "the end before the dot": Case(DEFERRED, {"content": close}, doubt=True),
    "an RST in a large mail": Case(DEFERRED, {"content": reset, "features": FEATURES[:1]}, size=MORE_THAN_FITS),
    "the end in a large mail": Case(DEFERRED, {"content": close, "features": FEATURES[:1]}, size=MORE_THAN_FITS),
    "a large mail not taken": Case(DEFERRED, {"content": _deaf, "features": FEATURES[:1]}, size=MORE_THAN_FITS),
    "552 in a large mail": Case(
        BOUNCED,
        {"content": then("552 5.3.4 too big", _deaf), "features": FEATURES[:1]},
        "552 5.3.4",
        size=MORE_THAN_FITS,
    ),
    "421 in a large mail": Case(
        DEFERRED,
        {"content": then("421 4.3.2 enough", _deaf), "features": FEATURES[:1]},
        "421 4.3.2",
        size=MORE_THAN_FITS,
    ),
    "250 in a large mail": Case(
        DEFERRED, {"content": then("250 2.0.0 kept", _deaf), "features": FEATURES[:1]}, size=MORE_THAN_FITS
    ),
    "a large mail, the reply lost": Case(DEFERRED, {"dot": close}, doubt=True, doubled=True, size=LARGE),
    "a large mail, an RST for a reply": Case(DEFERRED, {"dot": reset}, doubt=True, doubled=True, size=LARGE),
}

TLS = {
    "STARTTLS stripped": Case(DEFERRED, {"before TLS": ""}, "offers no STARTTLS"),
    "plaintext injected behind 220": Case(RELAYED, {"STARTTLS": say("220 go", "250 AUTH PLAIN", "235 2.7.0 in")}),
    "TLS is garbage": Case(DEFERRED, {"handshake": garbage}, "TLS failed"),
    "TLS is an alert": Case(
        DEFERRED, {"handshake": lambda talk: talk.send(b"\x15\x03\x03\x00\x02\x02\x28")}, "TLS failed"
    ),
    "TLS is SMTP": Case(DEFERRED, {"handshake": lambda talk: talk.send(b"250 ok\r\n")}, "TLS failed"),
    "the handshake stalls": Case(DEFERRED, {"handshake": stall}),
    "the handshake drips": Case(DEFERRED, {"handshake": then("\x16\x03\x03\x40", drip)}),
    "the handshake is hung up on": Case(DEFERRED, {"handshake": close}, "TLS failed"),
    "the handshake meets an RST": Case(DEFERRED, {"handshake": reset}, "TLS failed"),
    "an expired certificate": Case(DEFERRED, {"handshake": "expired"}, "certificate not accepted"),
    "another name": Case(DEFERRED, {"handshake": "othername"}, "certificate not accepted"),
    "self-signed": Case(DEFERRED, {"handshake": "selfsigned"}, "certificate not accepted", stubborn=HELD),
    "a stranger's authority": Case(DEFERRED, {"handshake": "stranger"}, "certificate not accepted"),
    "TLS 1.1": Case(DEFERRED, {"handshake": "old"}, "TLS failed"),
    "hung up on inside TLS": Case(DEFERRED, {"secured": close}),
    "downgrade between connections": Case(
        (RELAYED, DEFERRED), {"before TLS": ["STARTTLS", ""], "dot": then("250 2.0.0 kept", close)}, mails=2
    ),
    "another certificate on the next connection": Case(
        (RELAYED, DEFERRED), {"handshake": ["good", "selfsigned"], "dot": then("250 2.0.0 kept", close)}, mails=2
    ),
    "TLS demanded, and the port is plain": Case(DEFERRED, {"plain": True}, "TLS failed", lines=(("tls", "implicit"),)),
    "STARTTLS demanded, and the port is TLS": Case(DEFERRED, {}, implicit=True),
    "TLS from the first octet": Case(RELAYED, {}, implicit=True, lines=(("tls", "implicit"),)),
}

SCRAM = (("auth", "scram-sha-256"),)
AUTH = {
    "535": Case(DEFERRED, {"AUTH": "535 5.7.8 wrong"}, "535 5.7.8", stubborn=HELD),
    "454": Case(DEFERRED, {"AUTH": "454 4.7.0 not now"}, "454 4.7.0"),
    "432": Case(DEFERRED, {"AUTH": "432 4.7.12 a new password, please"}, "432 4.7.12"),
    "538": Case(DEFERRED, {"AUTH": "538 5.7.11 encrypt"}, "538 5.7.11"),
    "no AUTH is offered": Case(DEFERRED, {"offers": ""}, "offers no AUTH"),
    "no mechanism that we know": Case(DEFERRED, {"offers": "AUTH GSSAPI NTLM"}, "offers no AUTH that we know"),
    "mechanisms shrunk": Case(DEFERRED, {"offers": "AUTH PLAIN LOGIN"}, "offers no AUTH that we know", lines=SCRAM),
    "mechanisms shrunk on the next connection": Case(
        (RELAYED, DEFERRED),
        {"offers": ["AUTH PLAIN LOGIN", "AUTH LOGIN"], "dot": then("250 2.0.0 kept", close)},
        mails=2,
        lines=(("auth", "plain"),),
    ),
    "a challenge that nobody asked for": Case(DEFERRED, {"AUTH": f"334 {_b64('why?')}"}),
    "a challenge that is no base64": Case(DEFERRED, {"AUTH": "334 %%%", "offers": "AUTH CRAM-MD5"}, "no base64"),
    "a wrong challenge": Case(
        DEFERRED, {"AUTH": f"334 {_b64('r=other,s=QUJD,i=4096')}", "offers": "AUTH SCRAM-SHA-256"}, lines=SCRAM
    ),
    "a costly challenge": Case(
        DEFERRED, {"AUTH": f"334 {_b64('r=x,s=QUJD,i=2000000000')}", "offers": "AUTH SCRAM-SHA-256"}, lines=SCRAM
    ),
    "235 before the proof": Case(DEFERRED, {"AUTH": "235 2.7.0 in", "offers": "AUTH SCRAM-SHA-256"}, lines=SCRAM),
    "hung up on in mid-exchange": Case(
        DEFERRED, {"AUTH": f"334 {_b64('1@a')}", "AUTH again": close, "offers": "AUTH CRAM-MD5"}
    ),
    "an RST in mid-exchange": Case(
        DEFERRED, {"AUTH": f"334 {_b64('1@a')}", "AUTH again": reset, "offers": "AUTH CRAM-MD5"}
    ),
    "a stall in mid-exchange": Case(
        DEFERRED, {"AUTH": f"334 {_b64('1@a')}", "AUTH again": stall, "offers": "AUTH CRAM-MD5"}
    ),
    "challenges without end": Case(DEFERRED, {"AUTH": "334 ", "AUTH again": "334 ", "offers": "AUTH LOGIN"}),
    "530 at MAIL": Case(BOUNCED, {"MAIL": "530 5.7.0 log in"}, "530 5.7.0"),
}

OTHER = {
    "nobody listens": Case(DEFERRED, {"connect": "refused"}, "refused", stubborn=BOUNCED),
    "a name that is none": Case(DEFERRED, {}, "does not resolve", lines=(("smtp_server", "no-such-host.invalid"),)),
    "SIZE that is no number": Case(RELAYED, {"features": ("PIPELINING", "SIZE lots", "8BITMIME")}),
    "SIZE of forty digits": Case(RELAYED, {"features": ("PIPELINING", f"SIZE {'9' * 40}", "8BITMIME")}),
    "SIZE too small": Case(BOUNCED, {"features": ("PIPELINING", "SIZE 100")}, "5.3.4"),
    "a hundred features": Case(RELAYED, {"features": ("PIPELINING", *(f"X-{n} {'y' * 200}" for n in range(90)))}),
    "features of control characters": Case(RELAYED, {"features": ("PIPELINING", "\x1b[2J\x07 \udcff\udcfe", "SIZE")}),
    "a reply in Latin-1, with a terminal's escapes": Case(
        BOUNCED, {"RCPT": "550 5.1.1 \udce9\x1b[31m nobody"}, "550 5.1.1"
    ),
    "the reply to the dot stays lost": Case(DEFERRED, {"dot": close}, doubt=True, doubled=True, stubborn=HELD),
    "the dot stalls, twice": Case(DEFERRED, {"dot": stall}, doubt=True, doubled=True, stubborn=HELD),
    "451 for ever": Case(DEFERRED, {"dot": "451 4.3.0 not now"}, "451 4.3.0", stubborn=BOUNCED),
}

CASES = {
    **dict(_everywhere()),
    **CODES,
    **TWO,
    **RECIPIENTS,
    **CONTENT,
    **TLS,
    **{f"AUTH: {name}": case for name, case in AUTH.items()},
    **OTHER,
}
