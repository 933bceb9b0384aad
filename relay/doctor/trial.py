"""Trial: one clearly marked mail through the running relay, and what became of it."""

import getpass
import os
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate, make_msgid
from typing import Any

from relay import control
from relay.address import Address
from relay.doctor.finding import Finding, fail, ok, warn
from relay.errors import NoSuchMail, RelayError
from relay.loaded import Configuration
from relay.sendmail import submission

PATIENCE = 60.0
"""Seconds that the relay gets for its first try."""
_PAUSE = 0.25
_ANSWER = 30.0
_SUBJECT = "Test mail of tracker-relay doctor"


def send(config: Configuration, sender: Address, recipient: Address, start: str) -> Iterator[Finding]:
    """Hand it over, then follow it."""
    about = str(recipient)
    try:
        said = _submitted(config, sender, recipient)
    except submission.Failed as fault:
        yield fail("mail", about, f"the relay did not take it: {fault}", start)
        return
    name = said.rpartition("queued as ")[2].strip()
    yield ok("mail", about, f"the relay has taken it: {said}")
    yield _followed(config, name, recipient)


def _submitted(config: Configuration, sender: Address, recipient: Address) -> str:
    """Over the drop-in's socket, where no rule adds anybody; where there is none, as a tracker. Raises Failed."""
    path = config.submission_socket
    connection = submission.connect(path) if path else _as_a_tracker(config)
    with connection:
        connection.settimeout(_ANSWER)
        octets = _mail(config, sender, recipient)
        relay = submission.Relay(connection)
        return relay.submit(sender.wire_form, [recipient.wire_form], "8BITMIME", len(octets), [octets])


def _as_a_tracker(config: Configuration) -> socket.socket:
    for listen in config.listener.listen:
        if listen.port:
            try:
                return socket.create_connection((listen.reachable.host, listen.port), _ANSWER)
            except OSError as fault:
                text = f"no answer at {listen}: {fault.strerror or fault}"
                raise submission.Failed(submission.EX_TEMPFAIL, text) from fault
    raise submission.Failed(submission.EX_UNAVAILABLE, "[listener] has neither a port nor a submission socket")


def _mail(config: Configuration, sender: Address, recipient: Address) -> bytes:
    host = config.listener.hostname or socket.gethostname()
    try:
        who = getpass.getuser()
    except (KeyError, OSError):
        who = f"uid {os.getuid()}"
    lines = [
        f"From: tracker-relay <{sender.wire_form}>",
        f"To: {recipient.wire_form}",
        f"Subject: {_SUBJECT}",
        f"Date: {formatdate(localtime=True)}",
        f"Message-ID: {make_msgid('doctor', sender.domain or 'localhost')}",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "",
        f"This is a test mail: {who} had `tracker-relay doctor --send-to` send it on {host}.",
        "The road from there to you works. Nobody needs to answer.",
        "",
    ]
    return "\r\n".join(lines).encode()


def _followed(config: Configuration, name: str, recipient: Address) -> Finding:
    """Ask for its life until something has become of it."""
    about, trace = str(recipient), f"tracker-relay trace {name}"
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            [row] = [r for line in _asked(config, name) for r in line["entries"]]
        except NoSuchMail:
            return fail("mail", about, f"the relay knows nothing of {name} any more", trace)
        except (RelayError, ValueError) as fault:
            return warn("mail", about, f"what became of {name} can not be asked: {fault}", f"sudo {trace}")
        if found := _ended(about, row, recipient, trace):
            return found
        time.sleep(_PAUSE)
    return warn("mail", about, f"the relay has not tried {name} within {PATIENCE:.0f} s", trace)


def _asked(config: Configuration, name: str) -> Iterator[dict[str, Any]]:
    return control.ask(control.socket_path(config), {"do": "trace", "what": name})


def _ended(about: str, row: dict[str, Any], recipient: Address, trace: str) -> Finding | None:
    """What the mail's life says; None while nothing has become of it."""
    if row["state"] == "held":
        text = f"it is held: {row['reason']}"
        return fail("mail", about, text, f"{trace}\ntracker-relay queue release {row['id']}")
    outcomes = [*row["answered"], *(o for attempt in row["attempts"][-1:] for o in attempt["outcomes"])]
    for outcome in outcomes:
        if outcome["origin"] != f"rcpt:{recipient}" and outcome["address"] != str(recipient):
            continue
        words = f"{outcome['host'] or outcome['rule']}: {outcome['reply']}"
        match outcome["disposition"]:
            case "relayed":
                return ok("mail", about, f"relayed by {words}")
            case "deferred":
                return fail("mail", about, f"not yet, it is tried again later; {words}", trace)
            case "dropped":
                return fail("mail", about, f"a rule has dropped it; {words}", trace)
            case _:
                return fail("mail", about, f"refused by {words}", trace)
    return fail("mail", about, "it ended without this recipient", trace) if row["state"] == "done" else None
