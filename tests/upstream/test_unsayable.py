"""What can not be said in SMTP is refused before the dialogue has begun, and leaves no trace in it."""

import asyncio

import pytest

from relay.address import parse
from relay.dialogue import Dialogue
from relay.errors import HopError
from relay.mail import Recipient
from relay.message import parse_bytes
from relay.transaction import Features, Plan, Timeouts, Transaction

MAIL = parse_bytes(b"Subject: hi\r\n\r\nhello\r\n")
EVE = Recipient.accepted(parse("eve@example.org"))


def hear(dialogue):
    """The replies to one mail, the last one once it was sent."""
    dialogue.data_received(b"250 ok\r\n250 ok\r\n354 go\r\n")
    dialogue.data_received(b"250 taken\r\n")


class Wire:
    """What a transport is asked for here."""

    def __init__(self):
        self.written, self.closed = b"", False

    def write(self, data):
        self.written += data

    def is_closing(self):
        return self.closed

    def abort(self):
        self.closed = True


def plan(path, sender="bot@example.com"):
    return Plan(sender, "", ((EVE, path),), pipelining=True)


@pytest.mark.parametrize("path", ["eve\r\nDATA@example.org", "eve\0@example.org", "e\u2028ve@example.org", "\ud800@x"])
def test_a_path_of_two_lines_is_no_transaction(path):
    with pytest.raises(HopError, match="can not be said"):
        Transaction(plan(path), "mx")
    with pytest.raises(HopError, match="can not be said"):
        Transaction(plan("eve@example.org", sender=path), "mx")


@pytest.mark.parametrize("local", ["so\u00adft", "no\u200bspace", "\u00a0x"])
def test_what_a_path_may_hold_can_be_said(local):
    """RFC 6531 allows every character outside ASCII: what an address may be, a command can carry."""
    path = parse(f"{local}@example.org").wire_form
    assert f"RCPT TO:<{path}>\r\n".encode() in Transaction(plan(path), "mx").next_commands()


@pytest.mark.parametrize("others", [0, 1])
def test_it_leaves_no_turn_behind(others):
    """Neither on an idle connection nor behind a mail under way; the next one goes out as if it had never been."""

    async def story():
        wire = Wire()
        dialogue = Dialogue("mx", Features({"PIPELINING": ""}), "", Timeouts())
        dialogue.connection_made(wire)
        before = [asyncio.create_task(dialogue.carry(plan("ann@example.org"), MAIL, 22)) for _ in range(others)]
        await asyncio.sleep(0)
        with pytest.raises(HopError, match="can not be said"):
            await dialogue.carry(plan("eve\r\nDATA@example.org"), MAIL, 22)
        assert dialogue.waiting == others
        assert b"eve" not in wire.written
        assert dialogue.usable
        last = asyncio.create_task(dialogue.carry(plan("zoe@example.org"), MAIL, 22))
        await asyncio.sleep(0)
        for _ in range(others):
            hear(dialogue)
        hear(dialogue)
        async with asyncio.timeout(5):
            for done in (*before, last):
                assert [outcome.reply.text for outcome in await done] == ["taken"]
        assert b"RCPT TO:<zoe@example.org>\r\n" in wire.written

    asyncio.run(story())
