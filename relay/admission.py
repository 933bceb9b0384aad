"""Admission: what the listener accepts, as Replies; None where there is nothing against it.

Only what the SMTP dialogue and the header's form show is judged here: a tracker can not do anything
with a refusal that a rule would find later.
"""

import grp
import ipaddress
import pwd
import re
from dataclasses import dataclass
from functools import lru_cache

from relay.address import Address
from relay.message import MAX_FIELDS, MAX_HEADER, Message
from relay.options import address_list, at_least, choice, duration, integer, listed, option, path, some_size
from relay.reply import Reply

MAX_FIELD = 65536
"""Octets in one header field at most."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_SOCKET_NAME = re.compile(r"[!-9;-~]{1,255}")
"""What systemd takes for FileDescriptorName=: printable ASCII but the colon."""
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?")


_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen: host and port, or the path of a unix socket, or the name of sockets from systemd."""

    host: str = ""
    port: int = 0
    path: str = ""
    name: str = ""

    @property
    def reachable(self) -> "Listen":
        """Where a client on this host reaches it: a socket for all addresses is at the loopback one."""
        host = _LOOPBACK_OF.get(self.host)
        return Listen(host, self.port) if host else self

    def __str__(self) -> str:
        if self.name:
            return f"systemd:{self.name}"
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def listen_list(value: str) -> tuple[Listen, ...]:
    """host:port, [v6]:port, unix:PATH or systemd:NAME, separated by commas or blanks; at least one."""
    found: tuple[Listen, ...] = listed(_listen)(value)
    if not found:
        raise ValueError("name at least one address, such as 127.0.0.1:2525")
    return found


def _listen(word: str) -> Listen:
    if word.startswith("unix:"):
        if len(word) < 6 or len(word) > 107:
            raise ValueError(f"{word!r} is no socket path of at most 102 octets")
        return Listen(path=word[5:])
    if word.startswith("systemd:"):
        if not _SOCKET_NAME.fullmatch(word, 8):
            raise ValueError(f"{word!r}: after systemd: comes the socket's name (FileDescriptorName=)")
        return Listen(name=word[8:])
    parts = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:]+)):(\d{1,5})", word)
    if not parts or int(parts[3]) > 65535:
        raise ValueError(f"{word!r} is none of host:port, [v6]:port, unix:PATH, systemd:NAME")
    return Listen(parts[1] or parts[2], int(parts[3]))


def networks(value: str) -> tuple[Network, ...]:
    """Networks in CIDR form, separated by commas or blanks."""
    try:
        return listed(ipaddress.ip_network)(value)  # type: ignore[no-any-return]
    except ValueError as fault:
        raise ValueError(f"{value!r}: {fault}") from fault


def host_name(value: str) -> str:
    """A host name, or nothing."""
    value = value.strip()
    if value and not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is not a host name")
    return value


@dataclass(frozen=True, slots=True)
class LocalUsers:
    """Users of this host by number, and groups whose members are meant."""

    uids: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()


def local_users(value: str) -> LocalUsers | None:
    """Users and @groups by name or number, separated by commas or blanks; nothing is everybody (None).

    Names are looked up when the configuration is read: a directory service must not be waited for with
    a client at the door.
    """
    uids: set[int] = set()
    groups: set[int] = set()
    words: tuple[str, ...] = listed(str)(value)
    for word in words:
        name = word.removeprefix("@")
        try:
            if name.isascii() and name.isdigit() and len(name) <= 10:
                number = int(name)
            else:
                number = grp.getgrnam(name).gr_gid if word != name else pwd.getpwnam(name).pw_uid
        except (KeyError, ValueError) as fault:
            raise ValueError(f"{word!r}: this host has no such {'group' if word != name else 'user'}") from fault
        (groups if word != name else uids).add(number)
    return LocalUsers(frozenset(uids), frozenset(groups)) if words else None


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """[listener]"""

    listen: tuple[Listen, ...] = option(
        (Listen("127.0.0.1", 2525),),
        "Where to listen: host:port, [v6]:port, unix:PATH, systemd:NAME (a socket unit's)",
        listen_list,
        shown="127.0.0.1:2525",
    )
    submission: str | None = option(
        None,
        "The unix socket of the sendmail drop-in; empty: none",
        path,
        shown="(var/submission.sock, installed: /run/tracker-relay/submission.sock)",
    )
    allow: tuple[Network, ...] = option(
        _LOOPBACK, "Networks whose hosts may send", networks, shown="127.0.0.0/8, ::1/128"
    )
    allow_uids: LocalUsers | None = option(
        None,
        "Local users who may send over unix sockets, by name or number; @NAME is a group; empty: everybody",
        local_users,
    )
    tls_certificate: str = option(
        "", "The listener's own certificate chain, in PEM: STARTTLS is offered, and port 465 speaks TLS at once", path
    )
    tls_key: str = option("", "Its private key, in PEM; empty: it stands in tls_certificate too", path)
    passwd_file: str = option(
        "", "Who may log in (`tracker-relay passwd`): hosts outside `allow` may then send after AUTH", path
    )
    max_size: int = option(50 << 20, "Octets in a mail at most", some_size, shown="50M")
    bare_newline: str = option(
        "normalize", "A bare LF in a mail: normalize (to CRLF) or refuse", choice("normalize", "refuse")
    )
    catch_all: tuple[Address, ...] = option(
        (), "Addresses of the relay itself, which a tracker is told to notify always; they never leave", address_list
    )
    gateway_id: str = option("", "This relay's name in its trace field; empty: hostname", host_name)
    hostname: str = option("", "Name in the greeting and in Received; empty: the system's", host_name)
    max_connections: int = option(
        2500,
        "Clients at one time; when they are as many, one that has been silent for 10 s makes room for another",
        integer(1, 100_000),
    )
    max_per_host: int = option(
        100, "Clients at one time from one host other than this one; 0: no limit of their own", integer(0, 100_000)
    )
    max_recipients: int = option(1000, "Recipients of one mail", integer(1, 100_000))
    max_hops: int = option(100, "Received fields in a mail before it counts as a loop", integer(1, 1000))
    duplicate_window: float = option(
        300.0,
        "How long a mail that is sent again (the same Message-ID, envelope, client and content) is answered 250"
        " and kept only once, until a restart; 0: every mail is kept",
        duration,
        shown="5m",
    )
    idle_timeout: float = option(300.0, "How long a client may be silent", at_least("1s"), shown="5m")


def user_allowed(uid: int, groups: frozenset[int], options: ListenerOptions) -> Reply | None:
    """Whether a local user, a member of these groups, may send over a unix socket."""
    allowed = options.allow_uids
    if allowed is None or uid in allowed.uids or groups & allowed.groups:
        return None
    return Reply(554, "5.7.1", "this user may not send here")


@lru_cache(1024)
def ip_of(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """A client's address, its zone left out. Raises ValueError."""
    return ipaddress.ip_address(address.partition("%")[0])


def unmapped(address: str) -> str:
    """An IPv4 client's address as such, also where it came over a socket for IPv6 (`::ffff:127.0.0.1`)."""
    if ":" not in address:
        return address
    mapped = getattr(ip_of(address), "ipv4_mapped", None)
    return str(mapped) if mapped else address


def client_allowed(address: str, options: ListenerOptions) -> Reply | None:
    """Whether a client of this address, `unmapped`, may send without AUTH; a network of all says that of nobody."""
    ip = ip_of(address)
    if any(ip in network for network in options.allow if network.version == ip.version and network.prefixlen):
        return None
    return Reply(554, "5.7.1", "this host may not send here")


def connections_of_host(number: int, options: ListenerOptions) -> Reply | None:
    """Whether a host may have that many connections: one that has them all keeps others from sending."""
    if not options.max_per_host or number <= options.max_per_host:
        return None
    return Reply(421, "4.7.0", "too many connections from this host, try again later")


def declared_size(octets: int, options: ListenerOptions) -> Reply | None:
    """The SIZE parameter of MAIL (RFC 1870)."""
    return too_big(options) if octets > options.max_size else None


def too_big(options: ListenerOptions) -> Reply:
    """The mail is over max_size."""
    return Reply(552, "5.3.4", f"mail is larger than {options.max_size} octets")


def recipients(number: int, options: ListenerOptions) -> Reply | None:
    """Whether one more recipient may follow `number` others (RFC 5321 4.5.3.1.10)."""
    if number < options.max_recipients:
        return None
    return Reply(452, "4.5.3", f"more than {options.max_recipients} recipients")


def content(message: Message, options: ListenerOptions, gateway_id: str) -> Reply | None:
    """The header of a received mail: its limits, hops, and our own trace in it."""
    fields = message.fields
    lengths = list(map(len, message.raws))
    if len(lengths) > MAX_FIELDS or sum(lengths) > MAX_HEADER:
        return Reply(552, "5.3.4", f"header of more than {MAX_FIELDS} fields or {MAX_HEADER} octets")
    if max(lengths, default=0) > MAX_FIELD:
        return Reply(552, "5.3.4", f"header field of more than {MAX_FIELD} octets")
    names = [field.name for field in fields]
    if names.count("received") >= options.max_hops:
        return Reply(554, "5.4.6", f"too many hops: {options.max_hops} Received fields")
    traces = (field.text.split() for field in fields if field.name == "x-tracker-relay")
    if any(words and words[0].lower() == gateway_id.lower() for words in traces):
        return Reply(554, "5.4.6", "mail loop: it has passed here before")
    return None
