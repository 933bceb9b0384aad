"""The last session that failed, line by line: what was said, what was heard, and no secret."""

import asyncio
import base64

import pytest

from relay.options import Secret
from relay.routing import Route
from relay.transcript import HEADER_LINES, LONGEST_LINE, MOST_LINES, Session, bounded
from tests.upstream.conftest import PASSWORD
from tests.upstream.test_manners import Facts

RAW = b"Subject: Crane jams\r\nMessage-ID: <12@x>\r\n" + b"X-Note: y\r\n" * 100 + b"\r\nthe body is nobody's affair\r\n"


def test_a_refused_mail_is_told_whole_but_for_its_body_and_the_log_in(stage, tls, run):
    async def story():
        script = {"RCPT:bob@example.org": "550-5.1.1 no such\r\n550 5.1.1 user", "dot": "250 2.0.0 kept"}
        async with stage.peer(certificate=tls(), script=script) as peer, stage.upstreams() as upstreams:
            hop = stage.secured(peer)
            assert upstreams.session_of(hop) is None
            await upstreams.attempt(Route(hop), stage.mail("eve@example.org"))
            assert upstreams.session_of(hop) is None, "what leaves leaves nothing behind"
            await upstreams.attempt(Route(hop), stage.mail("eve@example.org", "bob@example.org", raw=RAW))
            session = upstreams.session_of(hop)
            text = "\n".join(session.lines)
            for line in (
                "S: 220 peer ESMTP",
                "C: EHLO relay.example.com",
                "C: AUTH PLAIN [the rest is left out]",
                "[2 mails over this connection so far]",
                "C: RCPT TO:<bob@example.org>\nS: 550 5.1.1 no such\nS: 550 5.1.1 user",
                "C: DATA\nS: 354 go",
                "C: Subject: Crane jams",
                "C: .\nS: 250 2.0.0 kept",
            ):
                assert line in text, (line, text)
            assert "[secured: TLS" in text
            assert "nobody's affair" not in text
            assert text.count("C: X-Note") == HEADER_LINES - 2
            assert session.message_id == "<12@x>"
            assert PASSWORD not in text and base64.b64encode(f"\0me\0{PASSWORD}".encode()).decode() not in text

    run(story)


@pytest.mark.parametrize(
    ("script", "last"),
    [
        ({"greeting": "554 5.7.1 go away"}, "[451 4.3.2 the server said 554 5.7.1 go away]"),
        ({"AUTH": f"535 5.7.8 no, {PASSWORD} is wrong"}, "535 5.7.8 no, *** is wrong]"),
        ({"MAIL": "DROP"}, "[451 4.4.2 the server closed the connection]"),
        ({"dot": "DROP"}, "[451 4.4.2 the server closed the connection]"),
        ({"RCPT": "GARBAGE"}, "no SMTP reply]"),
    ],
)
def test_a_session_that_broke_says_how_far_it_came(stage, tls, run, script, last):
    async def story():
        async with stage.peer(certificate=tls(), script=script, features=()) as peer, stage.upstreams() as upstreams:
            hop = stage.secured(peer)
            await upstreams.attempt(Route(hop), stage.mail(raw=RAW))
            lines = upstreams.session_of(hop).lines
            assert lines[-1].endswith(last), lines
            assert all(PASSWORD not in line for line in lines)

    run(story)


def test_it_outlasts_a_restart(stage, run):
    async def story():
        facts = Facts()
        async with stage.peer(script={"MAIL": "550 5.7.1 no"}) as peer:
            async with stage.upstreams() as upstreams:
                upstreams.memory = facts
                await upstreams.attempt(Route(stage.hop(peer)), stage.mail(raw=RAW))
                session = upstreams.session_of(stage.hop(peer))
                await upstreams.keep()
                await upstreams.keep()
                assert facts.writes == 1, "once for each that is news"
            assert Session.read(facts["session:hop"]) == session

    run(story)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"at": "x", "host": "", "lines": [], "message_id": ""}'])
def test_a_stored_one_that_can_not_be_read_is_none(text):
    assert Session.read(text) is None


def test_it_is_bounded_and_printable():
    lines = bounded([f"S: {n}\x1b[31m" + "x" * 2000 for n in range(5000)])
    assert len(lines) == MOST_LINES + 1
    assert all(len(line) <= LONGEST_LINE + 3 and line.isprintable() for line in lines)
    assert lines[0].startswith("S: 0 ") and lines[-1].startswith("S: 4999 ") and "left out" in lines[MOST_LINES // 2]
    assert bounded(["a hunter2 b"], ["hunter2", ""]) == ("a *** b",)


def test_mails_side_by_side_do_not_mix(stage, run):
    async def story():
        script = {"RCPT:bob@example.org": "550 5.1.1 no"}
        async with stage.peer(script=script) as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer, password=Secret("")))
            await upstreams.attempt(route, stage.mail())
            others = [upstreams.attempt(route, stage.mail()) for _ in range(20)]
            raw = b"Message-ID: <bob@x>\r\n\r\nhi\r\n"
            await asyncio.gather(
                *others[:10], upstreams.attempt(route, stage.mail("bob@example.org", raw=raw)), *others[10:]
            )
            session = upstreams.session_of(route.upstream)
            assert session.message_id == "<bob@x>" and any("bob@example.org" in line for line in session.lines)

    run(story)


def test_the_commands_show_it():
    from relay.commands.trace import life
    from relay.commands.upstream import session_lines

    session = {"at": 1e9, "host": "mx[192.0.2.1]:25", "message_id": "<12@x>", "lines": ["C: EHLO x", "S: 250 \x1bx"]}
    shown = session_lines(session)
    assert shown[0].endswith("with mx[192.0.2.1]:25:") and shown[1:] == ["    C: EHLO x", r"    S: 250 \x1bx"]
    assert session_lines(None) == ["  no session has failed of late"]
    row = {"id": "a", "state": "done", "reason": "", "from": "", "to": [], "project": "", "ticket": "", "summary": "",
           "message_id": "<12@x>", "refused_paths": [], "events": [], "attempts": [], "answered": [],
           "sessions": [{"upstream": "main", **session}]}  # fmt: skip
    assert life(row)[-2:] == shown[1:]
    assert "last failed session with main" in life(row)[-3]
