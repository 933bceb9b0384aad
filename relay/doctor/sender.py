"""Sender: whether a next hop lets us send as the address that our mail comes from. MAIL and RCPT, then RSET."""

from collections.abc import AsyncIterator

from relay.address import Address
from relay.dialogue import Dialogue, Stale
from relay.doctor.finding import Finding, fail, ok, warn
from relay.doctor.hop import Hop
from relay.reply import Reply

MOST = 20
"""Senders of one hop that are tried."""


async def allowed(hop: Hop, link: Dialogue, recipient: Address | None) -> AsyncIterator[Finding]:
    """A row for each address that a profile sends as, over the connection that stands."""
    by_address = {address.wire_form: (section, address) for section, address in hop.senders.items()}
    for section, address in list(by_address.values())[:MOST]:
        try:
            yield await _tried(hop, link, section, address, recipient)
        except Stale as fault:
            text = f"the connection broke when it was to send as {address}: {fault}"
            yield fail("sender", hop.about, text, f"ask the administrator of {hop.upstream.server}")
            return


async def _tried(hop: Hop, link: Dialogue, section: str, sender: Address, recipient: Address | None) -> Finding:
    target = recipient or sender
    utf8 = not (sender.wire_form + target.wire_form).isascii()
    if utf8 and "SMTPUTF8" not in link.features:
        text = f"{sender} or {target} is not ASCII, and the server takes no such address"
        return fail("sender", hop.about, text, f"[{section}]\nsmtp_from = (an address in ASCII)")
    mail = await link.ask(f"MAIL FROM:<{sender.wire_form}>{' SMTPUTF8' if utf8 else ''}")
    if not mail.positive:
        return _no_sender(hop, section, sender, mail)
    rcpt = await link.ask(f"RCPT TO:<{target.wire_form}>")
    await link.ask("RSET")
    if rcpt.positive:
        return ok("sender", hop.about, f"may send as {sender} (tried to {target}, nothing was sent)")
    return _no_recipient(hop, sender, target, rcpt, named=recipient is not None)


def _no_sender(hop: Hop, section: str, sender: Address, reply: Reply) -> Finding:
    if reply.transient:
        text = f"MAIL FROM:<{sender}> is put off: {reply}"
        return warn("sender", hop.about, text, "try it again in some minutes")
    user = hop.upstream.user
    text = f"MAIL FROM:<{sender}> is refused: {reply}"
    who = f"{user}, or allow {user} to send as {sender}" if "@" in user else "(an address that the server lets us use)"
    return fail("sender", hop.about, text, f"[{section}]\nsmtp_from = {who}")


def _no_recipient(hop: Hop, sender: Address, target: Address, reply: Reply, *, named: bool) -> Finding:
    if reply.transient:
        text = f"RCPT TO:<{target}> is put off: {reply}"
        return warn("sender", hop.about, text, "greylisting ends by itself: try it again in some minutes")
    text = f"may send as {sender}, but RCPT TO:<{target}> is refused: {reply}"
    if named:
        login = "" if hop.upstream.logs_in else f"\nrelaying may need a log-in:\n{hop.line('smtp_user', '(your user)')}"
        return fail("sender", hop.about, text, f"is that address right?{login}")
    return warn(
        "sender",
        hop.about,
        f"{text}; that is our own address, which need not take mail",
        "tracker-relay doctor --send-to ADDRESS",
    )
