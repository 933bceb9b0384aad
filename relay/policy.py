"""Policy: a profile's rewriting options, and the Context in which rules apply them.

The names, values and defaults are those of trac.ini's [notification]; where a relay has to decide
what Trac decides from its database, the option's line says what it decides.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from relay import dkim
from relay.address import Address
from relay.dialects import Facts
from relay.immutable import immutable
from relay.options import (
    Secret,
    address,
    address_list,
    ascii_domain,
    boolean,
    choice,
    domain,
    listed,
    option,
    secret,
    text,
    trac_boolean,
)
from relay.people import Users

DEFAULT_PREFIX = "__default__"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def encoding(value: str) -> str:
    """A mime_encoding; quoted-printable is qp."""
    word = value.strip().lower()
    return choice("base64", "qp", "none", "auto", "keep", "none-strict")("qp" if word == "quoted-printable" else word)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Policy:
    """The rewriting half of [notification]."""

    smtp_enabled: bool = option(
        False, "Relay notifications; when false, every mail is accepted, recorded and dropped", trac_boolean
    )
    smtp_from: Address | None = option(None, "Address of From and of the envelope sender", address)
    smtp_from_name: str = option("", "Display name of From; empty: the mail's project", str.strip)
    smtp_replyto: Address | None = option(
        None, "Reply-To; unset: the tracker's own Reply-To stays if it holds an address", address
    )
    smtp_default_domain: str = option("", "Domain for bare names; an address that has an @ is never touched", domain)
    smtp_always_cc: tuple[Address, ...] = option(
        (), "Always notified, visible in Cc; separated by commas, blanks or semicolons", address_list
    )
    smtp_always_bcc: tuple[Address, ...] = option((), "Always notified, visible to nobody", address_list)
    staging: tuple[Address, ...] = option(
        (),
        "For a tracker that is only tried out: all of its mail goes to these addresses and to nobody else; the history"
        " tells who would have got it",
        address_list,
    )
    smtp_subject_prefix: str = option(
        DEFAULT_PREFIX, "In front of the Subject, once; __default__ is [the mail's project], empty is none", str.strip
    )
    always_notify_reporter: bool = option(
        False, "Always notify the reporter, where the mail and [users] tell who that is", trac_boolean
    )
    always_notify_owner: bool = option(False, "Always notify the owner, and the previous one", trac_boolean)
    always_notify_updater: bool | None = option(
        None,
        "true: notify whoever made the change; false: never for his own change; absent: as the tracker's release does",
        trac_boolean,
        shown="(absent)",
    )
    own_changes: bool | None = option(
        None,
        "no: nobody hears of his own changes, but those whose [user:LOGIN] says own_changes = yes; absent: as"
        " always_notify_updater says",
        boolean,
        shown="(absent)",
    )
    use_public_cc: bool = option(
        False,
        "Show reporter, owner, updater and the recipients that the tracker shows; false: nobody but smtp_always_cc",
        trac_boolean,
    )
    public_envelope: bool = option(
        False, "With use_public_cc, also show recipients that the tracker gave only in the envelope", boolean
    )
    use_short_addr: bool = option(
        False, "Send bare names as they are; for a mail server that knows local names", trac_boolean
    )
    mime_encoding: str = option(
        "base64", "Transfer encoding of text parts: base64, qp, none, none-strict, auto or keep", encoding
    )
    retry_encoding: bool = option(
        False,
        "A mail refused as suspected spam is tried once more with its text in the other encoding, qp or base64",
        boolean,
    )
    ignore_domains: tuple[str, ...] = option(
        (), "Names at these domains are no mail addresses (Kerberos realms)", listed(ascii_domain)
    )
    rewrite: str = option(
        "full", "full: every rule; off: only complete addresses and what the standards demand", choice("full", "off")
    )
    from_: str = option(
        "force",
        "force: From becomes smtp_from; keep: a From with an address stays",
        choice("force", "keep"),
        name="from",
    )
    project_name: str = option("", "The project of mail that names none", text)
    dkim_selector: str = option("", "Sign mail that leaves with DKIM: the name in front of ._domainkey", dkim.selector)
    dkim_domain: str = option("", "The signing domain; empty: that of From", ascii_domain)
    dkim_key: Secret = option(
        Secret(""),
        "The private key for DKIM, in PEM, RSA or Ed25519",
        secret,
        secret=True,
    )

    @property
    def sender(self) -> Address | None:
        """The effective smtp_from: itself, else smtp_replyto, completed by smtp_default_domain."""
        chosen = self.smtp_from or self.smtp_replyto
        return self.full(chosen) if chosen else None

    @property
    def signer(self) -> dkim.Signer | None:
        """Who signs what leaves; None: nobody."""
        return dkim.Signer(self.dkim_selector, self.dkim_domain, self.dkim_key) if self.dkim_selector else None

    def full(self, given: Address) -> Address:
        """`given` with the default domain where it has none; use_short_addr leaves it short."""
        return given if self.use_short_addr else given.complete(self.smtp_default_domain)


@immutable
class Stamp:
    """What identifies this passage: the entry's id, when and from whom it came, who we are.

    `received_at` in seconds since 1970; the same for every attempt, so retries keep Date and Message-ID.
    """

    id: str
    received_at: float
    host: str
    gateway_id: str
    client: str = ""
    helo: str = ""
    protocol: str = "ESMTP"
    uid: int | None = None
    """The local user, where `client` is a unix socket."""

    @property
    def date(self) -> str:
        """`received_at` as an RFC 5322 3.3 date in UTC, whatever the locale."""
        return _date(int(self.received_at))


@lru_cache(64)
def _date(seconds: int) -> str:
    at = datetime.fromtimestamp(seconds, UTC)
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[at.weekday()]
    return f"{day}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04} {at:%H:%M:%S} +0000"


@immutable
class Context:
    """All that a rule may look at besides the mail."""

    policy: Policy
    facts: Facts
    stamp: Stamp
    catch_all: tuple[Address, ...] = ()
    users: Users = Users()
    first_of_event: bool = True
    """False for further mails of one event: what the policy adds has gone out with the first."""
    suppressed: frozenset[tuple[str, str]] = frozenset()
    """The keys of dead addresses, to which no mail goes."""

    @property
    def project(self) -> str:
        """The mail's project, else the configured one, else ""."""
        return self.facts.project or self.policy.project_name
