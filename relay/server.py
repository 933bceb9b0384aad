"""The listener's side of one SMTP session: MAIL, RCPT, DATA, and the 250 that makes a mail ours.

aiosmtpd's class is the base (see `connection.py`); its path parser and DATA reader are replaced, since
they decode and shorten addresses, and hold a whole mail in memory line by line.

Nothing here waits for anything but the client and `spool.put`: 250 follows its return (promise 1).
A session is never cancelled by its client's leaving: once the final dot was read, the mail is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from relay import admission, encoded_word, journal, message
from relay.address import Address, AddressError, parse_path
from relay.connection import Connection
from relay.dataphase import DataPhase
from relay.duplicates import key_of
from relay.entry import Entry, Event
from relay.errors import SpoolFull
from relay.login import Login
from relay.mail import Envelope, Recipient
from relay.reply import Reply
from relay.routing import is_local
from relay.spool import Draft

__all__ = ["Session"]

_FULL = Reply(452, "4.3.1", "no space left for mail, try again later")
_OVERRUN = 16 << 20
"""Octets behind max_size that are still read, so that the client learns why; then the line is cut."""


class _Over(Exception):
    """the profile has had its share"""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@dataclass(slots=True)
class _Transaction:
    """MAIL and the RCPTs behind it."""

    reverse_path: Address | None
    body: str = ""
    size: int = 0
    """As the client declares it."""
    smtputf8: bool = False
    recipients: dict[tuple[str, str], Recipient] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    named: int = 0
    """How many RCPTs there were, the same recipient again included: nobody says it without end."""
    over: Reply | None = None


@dataclass(slots=True)
class _Reception:
    """A mail on its way in: what its content goes into, and why it will be refused, if so."""

    transaction: _Transaction
    draft: Draft
    phase: DataPhase
    seen: int = 0
    refusal: Reply | None = None


class Session(Connection):
    """One client's SMTP session."""

    _transaction: _Transaction | None = None
    _reception: _Reception | None = None
    _login: Login | None = None

    def execute(self, verb: bytes, argument: bytes) -> None:
        """Do one command and answer it."""
        method = self._COMMANDS.get(verb)
        if method is None:
            self.refuse(Reply(500, "5.5.1", "command not recognized"), "command")
        else:
            method(self, argument)

    def _hello(self, argument: bytes, protocol: str) -> bool:
        name = argument.decode("utf-8", "replace")
        if not name or len(name) > 255 or not name.isprintable():
            self.refuse(Reply(501, "5.5.4", "give your host name"), "HELO")
            return False
        self._transaction = None
        if protocol == "ESMTP":
            protocol += ("S" if self.secure else "") + ("A" if self.client.user else "")
        self.client = replace(self.client, helo=name, protocol=protocol)
        return True

    def _helo(self, argument: bytes) -> None:
        if self._hello(argument, "SMTP"):
            self.answer(Reply(250, "", self.hostname))

    def _ehlo(self, argument: bytes) -> None:
        if not self._hello(argument, "ESMTP"):
            return
        offers = ["PIPELINING", f"SIZE {self.setting.options.max_size}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self.setting.gate.context and not self.secure:
            offers.append("STARTTLS")
        if self._may_log_in:
            offers.append(f"AUTH {' '.join(self.setting.gate.mechanisms)}")
        self.answer(Reply(250, "", "\n".join((self.hostname, *offers))))

    @property
    def _may_log_in(self) -> bool:
        """No password crosses an unprotected connection from another host."""
        if not self.setting.gate.known:
            return False
        return self.secure or self.client.address == "unix" or is_local(self.client.address)

    def _starttls(self, argument: bytes) -> None:
        context = self.setting.gate.context
        if context is None:
            return self._unsupported(argument)
        if argument:
            return self.refuse(Reply(501, "5.5.4", "STARTTLS has no argument"), "STARTTLS")
        if self.secure:
            return self.refuse(Reply(503, "5.5.1", "TLS protects this connection already"), "STARTTLS")
        if self._transaction:
            return self.refuse(Reply(503, "5.5.1", "not within a mail"), "STARTTLS")
        self.answer(Reply(220, "2.0.0", "go ahead"))
        self.client = replace(self.client, helo="", user="")  # RFC 3207 4.2: nothing said before counts
        return self.start_tls(context)

    def _auth(self, argument: bytes) -> None:
        if not self.setting.gate.known:
            return self._unsupported(argument)
        if not self._may_log_in:
            return self.refuse(Reply(538, "5.7.11", "a password needs TLS: STARTTLS first"), "AUTH")
        if self.client.user or self._transaction:
            why = "not within a mail" if self._transaction else "you have logged in"
            return self.refuse(Reply(503, "5.5.1", why), "AUTH")
        if self._login is None:
            self._login = Login(self)
        return self._login.begin(argument)

    def _mail(self, argument: bytes) -> None:
        if self._transaction:
            return self.refuse(Reply(503, "5.5.1", "nested MAIL"), "MAIL")
        if argument[:5].upper() != b"FROM:":
            return self.refuse(Reply(501, "5.5.4", "MAIL FROM:<address>"), "MAIL")
        try:
            path, rest = parse_path(argument[5:])
        except AddressError as fault:
            return self.refuse(Reply(553, "5.1.7", str(fault)), "MAIL")
        if self.must_log_in and not self.client.user:
            return self.refuse(Reply(530, "5.7.0", "log in first: this host may not send without"), "MAIL")
        transaction = _Transaction(path)
        refusal = (
            self._parameters(transaction, rest)
            or _needs_smtputf8(path, transaction)
            or self._room(transaction)
            or self.setting.limits.sender(self.client, path, self.loop.time())
        )
        if refusal:
            return self.refuse(refusal, "MAIL")
        self._transaction = transaction
        return self.answer(Reply(250, "2.1.0", "sender ok"))

    def _parameters(self, transaction: _Transaction, rest: bytes) -> Reply | None:
        for word in rest.decode("latin-1").split():
            name, _, value = word.partition("=")
            match name.upper(), value.upper():
                case "SIZE", size if size.isascii() and size.isdigit() and len(size) <= 20:
                    transaction.size = int(size)
                    if refusal := admission.declared_size(transaction.size, self.setting.options):
                        return refusal
                case "BODY", "7BIT" | "8BITMIME" as body:
                    transaction.body = body
                case "SMTPUTF8", "":
                    transaction.smtputf8 = True
                case "AUTH", "<>":
                    pass  # RFC 4954 5: nobody is named
                case "SIZE" | "BODY" | "SMTPUTF8" | "AUTH", _:
                    return Reply(501, "5.5.4", f"bad value of {name.upper()}")
                case _:
                    return Reply(555, "5.5.4", "parameter not recognized")
        return None

    def _room(self, transaction: _Transaction) -> Reply | None:
        """A full spool says so at once, not behind the mail (RFC 1870 6.1)."""
        try:
            self.setting.spool.room(transaction.size)
        except SpoolFull:
            return _FULL
        return None

    def _rcpt(self, argument: bytes) -> None:
        transaction = self._transaction
        if transaction is None:
            return self.refuse(Reply(503, "5.5.1", "MAIL comes first"), "RCPT")
        if argument[:3].upper() != b"TO:":
            return self.refuse(Reply(501, "5.5.4", "RCPT TO:<address>"), "RCPT")
        limits = self.setting.limits
        over = admission.recipients(transaction.named, self.setting.options)
        if over := over or limits.recipients(self.client, self.loop.time()):
            known, transaction.over = transaction.over is not None, over
            return self.refuse(over, "RCPT", known=known)
        transaction.named += 1
        accepted = _recipient(argument[3:], transaction)
        if isinstance(accepted, Address):
            accepted = limits.recipient(self.client, accepted) or accepted
        if isinstance(accepted, Reply):
            transaction.refused.append(journal.escaped(argument[3:].decode("utf-8", "replace").strip()))
            return self.refuse(accepted, "RCPT")
        transaction.recipients.setdefault(accepted.key, Recipient.accepted(accepted))
        return self.answer(Reply(250, "2.1.5", "recipient ok"))

    def _data(self, argument: bytes) -> None:
        transaction = self._transaction
        if argument:
            return self.refuse(Reply(501, "5.5.4", "DATA has no argument"), "DATA")
        if transaction is None or not (transaction.recipients or transaction.refused or transaction.over):
            return self.refuse(Reply(503, "5.5.1", "MAIL and RCPT come first"), "DATA")
        self._transaction = None
        if transaction.over:
            return self.refuse(transaction.over, "DATA")
        if not transaction.recipients:
            return self.refuse(Reply(554, "5.5.1", "no valid recipients"), "DATA")
        options = self.setting.options
        phase = DataPhase(refuse_bare_lf=options.bare_newline == "refuse")
        self._reception = _Reception(transaction, self.setting.spool.draft(), phase)
        self.content = self._content
        self.mail_begun = self.loop.time()
        return self.answer(Reply(354, "", "end with <CRLF>.<CRLF>"))

    def _content(self, data: bytes) -> bytes:
        """Stream a mail into its draft up to the final dot. What will be refused is read but not kept."""
        reception = self._reception
        assert reception is not None
        phase, options = reception.phase, self.setting.options
        content = phase.feed(data)
        reception.seen += len(content)
        if reception.refusal is None:
            reception.refusal = self._store(reception.draft, content, phase.fault, reception.seen)
        if phase.done:
            self.content = self._reception = None
            self.hold(self._finish(reception))
            return phase.rest
        if reception.seen > options.max_size + _OVERRUN:
            self.dismiss(admission.too_big(options))
        return b""

    def lost(self) -> None:
        """The client is gone: a mail without its final dot never was one."""
        if self._reception is not None:
            self._reception.draft.discard()
            self._reception = None

    async def _finish(self, reception: _Reception) -> None:
        """Answer the final dot."""
        pulse = self.setting.pulse
        pulse.waiting += 1
        try:
            reply = reception.refusal or await self._keep(reception.transaction, reception.draft)
        except SpoolFull:
            reply = _FULL  # the spool has told of it, once
        except Exception as fault:
            journal.fault("reception", fault)
            reply = Reply(451, "4.3.0", "local trouble, try again later")
        finally:
            reception.draft.discard()  # does nothing once the spool has it
            self.mail_begun = None
            pulse.waiting, pulse.at = pulse.waiting - 1, self.loop.time()
        if reply.positive:
            self.worked()
            self.answer(reply)
        else:
            self.refuse(reply, "DATA")

    def _store(self, draft: Draft, content: bytes, fault: str, seen: int) -> Reply | None:
        """Append to the draft; the refusal, if there is now a reason for one."""
        if fault:
            return Reply(550, "5.5.2", f"the mail holds {fault}")
        if seen > self.setting.options.max_size:
            return admission.too_big(self.setting.options)
        try:
            draft.write(content)
        except SpoolFull:
            draft.discard()  # at once: it takes the room that others wait for
            return _FULL
        except Exception as broken:
            journal.fault("spool", broken)
            draft.discard()
            return Reply(451, "4.3.0", "local trouble, try again later")
        return None

    async def _keep(self, transaction: _Transaction, draft: Draft) -> Reply:
        setting = self.setting
        mail = message.parse(draft.body())
        if refusal := admission.content(mail, setting.options, setting.gateway_id):
            return refusal
        now = setting.clock()
        entry = Entry(
            id=setting.new_id(),
            received_at=now,
            due=now,
            size=draft.size,
            envelope=Envelope(
                transaction.reverse_path,
                tuple(transaction.recipients.values()),
                transaction.body,
                transaction.smtputf8,
            ),
            client=self.client,
            refused_paths=tuple(transaction.refused),
            message_id=mail.text("message-id")[:250],
            summary=encoded_word.decode(mail.text("subject")[:1000])[:200],
            events=(Event(now, "accepted", f"from {self.client.shown} by {self.client.listener}"),),
        )

        async def keep() -> str:
            """Only what is kept counts: what we have already is answered 250, however much there was of it."""
            mine, limits = setting.assigned(entry, mail), setting.limits
            if limits.profiles and (over := limits.profile(mine.profile, self.loop.time())):
                raise _Over(over)
            await setting.spool.put(mine, draft)
            journal.accepted(mine)  # before the answer: who was answered finds it in the log
            setting.queued()
            return mine.id

        window = setting.options.duplicate_window
        key = await key_of(entry, mail) if window else b""
        try:
            kept, known = await setting.duplicates.once(key, window, keep)
        except _Over as over:
            return over.reply
        if known:
            journal.duplicate(entry, kept)
        return Reply(250, "2.0.0", f"queued as {kept}")

    def _rset(self, _argument: bytes) -> None:
        self._transaction = None
        self.answer(Reply(250, "2.0.0", "flushed"))

    def _noop(self, _argument: bytes) -> None:
        self.answer(Reply(250, "2.0.0", "ok"))

    def _quit(self, _argument: bytes) -> None:
        self.answer(Reply(221, "2.0.0", "bye"))
        self.closing = True

    def _vrfy(self, _argument: bytes) -> None:
        self.answer(Reply(252, "2.5.2", "send it and see"))

    def _help(self, _argument: bytes) -> None:
        self.answer(Reply(214, "2.0.0", "RFC 5321"))

    def _unsupported(self, _argument: bytes) -> None:
        self.refuse(Reply(502, "5.5.1", "command not supported"), "command")

    _COMMANDS: ClassVar[dict[bytes, Callable[["Session", bytes], None]]] = {
        b"HELO": _helo,
        b"EHLO": _ehlo,
        b"MAIL": _mail,
        b"RCPT": _rcpt,
        b"DATA": _data,
        b"RSET": _rset,
        b"NOOP": _noop,
        b"QUIT": _quit,
        b"VRFY": _vrfy,
        b"HELP": _help,
        b"EXPN": _unsupported,
        b"BDAT": _unsupported,
        b"STARTTLS": _starttls,
        b"AUTH": _auth,
    }


def _recipient(argument: bytes, transaction: _Transaction) -> Address | Reply:
    """The forward-path of RCPT, or why it is refused."""
    try:
        path, rest = parse_path(argument)
    except AddressError as fault:
        return Reply(553, "5.1.3", str(fault))
    if path is None:
        return Reply(553, "5.1.3", "a recipient is never empty")
    if rest:
        return Reply(555, "5.5.4", "parameter not recognized")
    return _needs_smtputf8(path, transaction) or path


def _needs_smtputf8(path: Address | None, transaction: _Transaction) -> Reply | None:
    if path is None or path.is_ascii or transaction.smtputf8:
        return None
    return Reply(553, "5.6.7", "an address outside ASCII needs SMTPUTF8")
