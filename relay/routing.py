"""Routing: every recipient of a mail on exactly one Route, each leading to one Upstream, or to others in its stead."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from relay import credentials, manners, oauth, securing, services
from relay.address import ascii_domain
from relay.auth import MECHANISMS
from relay.dkim import Signer
from relay.entry import Attempt, Cause, Disposition, Outcome
from relay.exchangers import MxOptions
from relay.immutable import immutable
from relay.mail import Mail, Recipient
from relay.manners import Manners, MannersOptions, manners_of
from relay.oauth import Client, OAuthOptions, client_of
from relay.options import Secret, boolean, choice, integer, listed, option, path, secret, trac_boolean
from relay.reply import Reply
from relay.securing import MODES, PROOFS, pin

_MECHANISMS = [mechanism.name.lower() for mechanism in MECHANISMS]

OUTBOX = "outbox"
"""The reserved upstream that keeps mail in a local Maildir instead of sending it."""
MX = "mx"
"""The reserved upstream that stands for the recipients' own mail servers: DNS names them, domain by domain."""


WANTED, LISTED, UNLISTED = "wanted", "listed", "unlisted"
"""Of MTA-STS: policies are to be heeded; the one to enforce names this host; it does not."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A named next hop: where, how secured, as whom.

    `server` is a host name, an address, or "unix:PATH"; `tls` one of none, opportunistic, starttls,
    implicit; `proof` what proves who it is: none, pkix, dane or pin, the last by one of `pins` (SHA-256 of keys);
    `minimum` the least version of TLS. An empty `user` means no AUTH, but by EXTERNAL.
    """

    name: str
    server: str = ""
    port: int = 25
    tls: str = "opportunistic"
    proof: str = "pkix"
    ca_file: str = ""
    client_certificate: str = ""
    user: str = ""
    password: Secret = Secret("")
    auth: str = ""
    oauth: Client | None = None
    path: str = ""
    """The Maildir, for the outbox."""
    manners: Manners = Manners()
    pins: tuple[bytes, ...] = ()
    minimum: str = "1.2"
    ip: str = "any"
    """Which addresses of a host that DNS has named are used: any, ipv4 or ipv6."""
    addresses: tuple[str, ...] = field(default=(), compare=False)
    """Those of a host that DNS has named, in the order to try; without any the system resolves `server`."""
    targets: tuple[str, ...] = ()
    """Where `server` is srv:DOMAIN: hosts outside of the domain that DNS may name."""
    found_by: str = field(default="", compare=False)
    """The srv:DOMAIN whose host this is: what is counted there is counted for all its hosts."""
    weight: int = field(default=0, compare=False)
    """Its share of the mail among neighbours that have one as well; 0: it takes its turn in the order written."""
    sts: str = ""
    """At mx: WANTED. A host that DNS has named for a domain with an MTA-STS policy to enforce: LISTED or UNLISTED."""
    authentic: bool = field(default=False, compare=False)
    """DNSSEC has proved the way from the recipients' domain to the name of this host."""

    @property
    def is_mx(self) -> bool:
        """True for direct delivery as such; a host that DNS has named for it has a `server`."""
        return self.name == MX and not self.server

    @property
    def is_exchanger(self) -> bool:
        """True for a host that DNS has named for direct delivery: it comes and goes."""
        return self.name == MX and bool(self.server)

    @property
    def is_discovered(self) -> bool:
        """True where DNS names the hosts: `mx`, and a server srv:DOMAIN."""
        return self.is_mx or self.server.startswith(services.PREFIX)

    @property
    def logs_in(self) -> bool:
        """True when AUTH is said: there is a user, or a client certificate is to say who we are."""
        return bool(self.user) or self.auth == "external"

    @property
    def is_outbox(self) -> bool:
        """True for the local Maildir."""
        return self.name == OUTBOX

    @property
    def place(self) -> str:
        """Where it is, for people."""
        if self.is_outbox:
            return f"the outbox {self.path}"
        if self.is_mx:
            return f"the recipients' own mail servers, port {self.port}"
        named = self.is_discovered or self.server.startswith("unix:")
        return self.server if named else f"{self.server}:{self.port}"

    def __str__(self) -> str:
        return self.place if self.is_outbox else f"{self.place} ({self.tls})"


@immutable
class Route:
    """The decision "these recipients go there"; the fallbacks take over, in order, while it can not be reached."""

    upstream: Upstream
    fallbacks: tuple[Upstream, ...] = ()
    signer: Signer | None = None
    """Who signs the mail as it leaves."""
    domain: str = ""
    """Where the upstream is `mx`: whose mail servers are meant, in lower-case A-labels."""
    name: str = ""
    """Of the [route:NAME] that has decided it."""

    @property
    def candidates(self) -> tuple[Upstream, ...]:
        """Every next hop that may get the mail, in order."""
        return (self.upstream, *self.fallbacks)


def route(mail: Mail, upstreams: Sequence[Upstream], signer: Signer | None = None) -> list[tuple[Route, Mail]]:
    """One transaction for all recipients of a mail, at `mx` one for each domain; none when nobody is left."""
    first, *others = upstreams
    return _split(Route(first, tuple(others), signer), mail) if mail.envelope.recipients else []


def _split(route: Route, mail: Mail) -> list[tuple[Route, Mail]]:
    """Direct delivery goes domain by domain."""
    if not route.upstream.is_mx:
        return [(route, mail)]
    domains: dict[str, list[Recipient]] = {}
    for recipient in mail.envelope.recipients:
        domains.setdefault(ascii_domain(recipient.address.domain), []).append(recipient)
    return [(replace(route, domain=domain), mail.to(*who)) for domain, who in domains.items()]


FALLS_OVER = (Cause.CONNECT, Cause.DNS, Cause.TLS, Cause.AUTH, Cause.TOKEN, Cause.PAUSED)
"""Causes that concern the way to a next hop, not what it said of a mail or its recipients."""


def instead(route: Route, mail: Mail, attempt: Attempt) -> list[tuple[Route, Mail]]:
    """Where those recipients go now whom this hop could not be asked about, or that it has no time for; else nowhere.

    Never after its word about mail or recipient, and never where the mail may have arrived (promise 3).
    """
    if not route.fallbacks:
        return []
    open_ = {outcome.origin for outcome in attempt.outcomes if _passes_on(outcome)}
    left = mail.to(*(r for r in mail.envelope.recipients if r.origin in open_))
    following = replace(route, upstream=route.fallbacks[0], fallbacks=route.fallbacks[1:])
    return _split(following, left) if left.envelope.recipients else []


def _passes_on(outcome: Outcome) -> bool:
    if outcome.disposition is not Disposition.DEFERRED or outcome.ambiguous:
        return False
    return outcome.cause in FALLS_OVER or (outcome.cause is Cause.PEER and _has_no_time(outcome.reply))


def _has_no_time(reply: Reply) -> bool:
    """True for a 4xx that speaks of the host: 421, its system (4.3.x), its network (4.4.x) (RFC 5321 4.2.2, RFC 3463).

    Greylisting (4.7.x) and a mailbox that is full (4.2.x) are words about the mail: another host says the same.
    """
    if not reply.transient:
        return False
    return reply.code == 421 or reply.status[:4] in ("4.3.", "4.4.") or (not reply.status and reply.code in (451, 452))


def upstream_names(value: str) -> tuple[str, ...]:
    """Names of next hops, in order, separated by commas or blanks."""
    names = tuple(name for name in re.split(r"[,\s]+", value.strip()) if name)
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]} stands in it twice: remove one")
    return names


@dataclass(frozen=True, slots=True)
class NextHopOptions:
    """The upstream half of [notification]; under their short names (server, port, ...) an [upstream:NAME]."""

    smtp_server: str = option(
        "",
        "The mail server; unix:PATH for a socket; srv:DOMAIN for the one that the domain's SRV records name (RFC 6186)"
        "; none in [notification]: the outbox",
        services.server_name,
    )
    smtp_port: int | None = option(None, "Its port; 465 is TLS from the first octet", integer(1, 65535), shown="25")
    smtp_user: str = option("", "Log in as this user; empty: no log-in", str.strip)
    smtp_password: Secret = option(Secret(""), "The password; better in smtp_password_file", secret, secret=True)
    use_tls: bool | None = option(
        None, "true: STARTTLS, or nothing is sent; false: none; absent: when offered", trac_boolean, shown="(absent)"
    )
    tls: str = option(
        "",
        "The same outright: none, opportunistic, starttls or implicit",
        choice(*MODES),
    )
    tls_verify: bool = option(True, "false: no proof of who the server is; the same as tls_proof = none", boolean)
    tls_proof: str = option(
        "",
        "What proves who the server is: pkix (an authority, and its name), dane (TLSA records that a resolver on this"
        " host has validated), pin (one of tls_pins), none; empty: pin where there are tls_pins, else what tls_verify"
        " says",
        choice(*PROOFS, ""),
    )
    tls_pins: tuple[bytes, ...] = option(
        (),
        "Public keys that the server may have: SHA-256 of its SubjectPublicKeyInfo in base64, several for a rollover",
        listed(pin),
        shown="(empty)",
    )
    tls_minimum: str = option("1.2", "The least version of TLS: 1.2 or 1.3", choice("1.2", "1.3"))
    tls_ca_file: str = option("", "Certificates of the authorities to trust; empty: the system's", path)
    client_certificate: str = option("", "Our certificate and key (PEM), for a server that asks for one", path)
    auth: str = option(
        "", f"Log in by this mechanism only: {', '.join(_MECHANISMS)}; empty: the best", choice(*_MECHANISMS, "")
    )
    srv_targets: tuple[str, ...] = option(
        (),
        "With smtp_server = srv:DOMAIN: hosts outside of it that DNS may name, HOST or .DOMAIN for all hosts below it;"
        " others only where DNSSEC proves them",
        listed(services.target),
    )
    upstream: tuple[str, ...] = option(
        (),
        "Instead of smtp_server: the names of [upstream:NAME] sections, outbox, or mx for the recipients' own mail"
        " servers; the next one takes over while those before it can not be reached or do not let us in",
        upstream_names,
    )
    outbox: str = option("var/outbox", "The Maildir that keeps mail while smtp_server is empty", path)
    oauth: OAuthOptions = OAuthOptions()
    """Options of their own in the same section: tokens instead of smtp_password."""
    manners: MannersOptions = MannersOptions()
    """And those about how much the server is asked."""
    weight: int = 0
    """An [upstream:NAME] has one by its SharingOptions."""


@dataclass(frozen=True, slots=True)
class SharingOptions:
    """What only an [upstream:NAME] has."""

    weight: int | None = option(
        None,
        "Next hops that stand side by side in an `upstream =` and have a weight share the mail, by their weights",
        integer(1, 65535),
    )


NOT_OF_ONE_HOP = ("upstream", "outbox")
"""Options of [notification] that an [upstream:NAME] does not have."""
OPTION_NAMES = (
    *(field.name for field in fields(NextHopOptions) if field.metadata),
    *oauth.OPTION_NAMES,
    *manners.OPTION_NAMES,
)


def is_local(server: str) -> bool:
    """True for loopback and unix sockets: what is said there stays on this host."""
    if server.startswith("unix:"):
        return True
    name = server.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def faults(options: NextHopOptions) -> list[tuple[str, str]]:
    """Every contradiction among these options: the option's name, and what is wrong and what to do."""
    if options.upstream:
        return _beside_upstream(options)
    found = securing.faults(options) + services.faults(options) + manners.faults(options.manners)
    if not options.smtp_server:
        for name in ("smtp_user", "smtp_password"):
            if getattr(options, name):
                found.append((name, "there is no smtp_server to log in to: set smtp_server, or remove it"))
        if options.oauth.provider:
            found.append(("oauth", "there is no smtp_server to log in to: set smtp_server, or remove it"))
        return found
    return found + credentials.faults(options, local=is_local(options.smtp_server))


def _beside_upstream(options: NextHopOptions) -> list[tuple[str, str]]:
    """What can not stand beside `upstream`."""
    found: list[tuple[str, str]] = []
    if options.smtp_server:
        found.append(("upstream", "upstream and smtp_server both say where mail goes: remove one of them"))
    for name in ("smtp_user", "smtp_password"):
        if getattr(options, name) and not options.smtp_server:
            text = f"upstream says where mail goes: move it into [upstream:{options.upstream[0]}]"
            found.append((name, text))
    return found


def upstream_from(options: NextHopOptions, name: str) -> Upstream:
    """The one next hop that these options describe. Raises ValueError with the first contradiction."""
    for option_name, sentence in faults(options):
        raise ValueError(f"{option_name}: {sentence}")
    if not options.smtp_server:
        return Upstream(OUTBOX, path=options.outbox)
    domain = services.domain_of(options.smtp_server)
    return Upstream(
        name,
        options.smtp_server,
        options.smtp_port or (0 if domain else 25),
        (options.tls or services.EITHER) if domain else securing.mode(options),
        securing.proof(options),
        options.tls_ca_file,
        options.client_certificate,
        options.smtp_user,
        options.smtp_password,
        options.auth,
        client_of(options.oauth, options.smtp_user),
        targets=options.srv_targets,
        weight=options.weight,
        manners=manners_of(options.manners, options.smtp_server, options.smtp_user),
        pins=options.tls_pins,
        minimum=options.tls_minimum,
    )


def upstreams_from(
    names: Sequence[str], outbox: str, others: Mapping[str, NextHopOptions], mx: Upstream
) -> tuple[Upstream, ...]:
    """The next hops of these names; `others` are the [upstream:NAME] sections. Raises ValueError, KeyError."""
    reserved = {OUTBOX: Upstream(OUTBOX, path=outbox), MX: mx}
    return tuple(reserved.get(name) or upstream_from(others[name], name) for name in names)


def mx_from(options: MxOptions) -> Upstream:
    """Direct delivery: nobody logs in there, and TLS is used where it can be had, or where it is promised."""
    proof, sts = "dane" if options.dane else "none", WANTED if options.mta_sts else ""
    return Upstream(MX, port=options.port, proof=proof, ip=options.ip, sts=sts)
