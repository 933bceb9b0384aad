"""Checks: what only several options together show to be wrong. Each check looks at one matter."""

import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from relay import dkim, gate, namedfile, oauth_checks, passwords, places, routing, securing
from relay.admission import Listen
from relay.client_checks import CLIENT_CHECKS
from relay.loaded import Loaded
from relay.options import is_trac_word, trac_boolean
from relay.profile_checks import PROFILE_CHECKS
from relay.profiles import DEFAULT
from relay.route_checks import ROUTE_CHECKS
from relay.sections import declared, kinds_of


def _sender(loaded: Loaded) -> None:
    for profile in loaded.configuration.notifications:
        policy, section = profile.policy, profile.section
        places = [(f.section, f.option) for f in loaded.faults]
        bad = any((s, o) in places for s in (DEFAULT, section) for o in ("smtp_from", "smtp_replyto"))
        if policy.smtp_from is None and policy.smtp_replyto is None and not bad:
            user = profile.next_hop.smtp_user
            advice = f"set smtp_from = {user}" if "@" in user else "set one of them to the address that mail comes from"
            loaded.fault(section, "smtp_from", f"neither smtp_from nor smtp_replyto is set: {advice}")
        for name, address in (("smtp_from", policy.smtp_from), ("smtp_replyto", policy.smtp_replyto)):
            if address and address.short and not policy.smtp_default_domain and not policy.use_short_addr:
                text = f"{address} has no domain: write it whole, or set smtp_default_domain"
                loaded.fault_once(section, name, text)


def _dkim(loaded: Loaded) -> None:
    for profile in loaded.configuration.notifications:
        policy, section = profile.policy, profile.section
        if bool(policy.dkim_selector) != bool(policy.dkim_key):
            missing, given = ("dkim_key", "dkim_selector") if policy.dkim_selector else ("dkim_selector", "dkim_key")
            if not any(fault.option.startswith("dkim_") for fault in loaded.faults):
                loaded.fault_once(section, given, f"there is no {missing} to sign with: set it too, or remove {given}")
        elif policy.signer and (text := dkim.faults(policy.signer)):
            loaded.fault_once(section, "dkim_key", text)
        elif policy.signer and (text := dkim.warnings(policy.signer)):
            loaded.warn_once(section, "dkim_key", text)
        elif policy.dkim_domain and not policy.dkim_selector:
            loaded.fault_once(section, "dkim_domain", "nothing is signed without dkim_selector and dkim_key_file")


def _next_hop(loaded: Loaded) -> None:
    for profile in loaded.configuration.notifications:
        if loaded.is_wrong("smtp_server", DEFAULT, profile.section):
            continue  # what was written there is said, and nothing follows from it
        for name, text in routing.faults(profile.next_hop):
            loaded.fault_once(profile.section, name, text)


def _own_listener(loaded: Loaded) -> None:
    hops = [(profile.section, "smtp_server", profile.next_hop) for profile in loaded.configuration.notifications]
    hops += [(f"upstream:{name}", "server", hop) for name, hop in loaded.configuration.upstreams]
    listens = loaded.configuration.listener.listen
    for listen in (*listens, Listen(path=loaded.configuration.submission_socket)):
        for section, name, hop in hops:
            if hop.smtp_server and is_own(hop.smtp_server, hop.smtp_port or 25, listen):
                text = f"that is this relay's own listener ({listen}): name the mail server that it shall send to"
                loaded.fault_once(section, name, text)


def is_own(server: str, port: int, listen: Listen) -> bool:
    """True when that server and port are where this relay listens itself."""
    if listen.path:
        return server == f"unix:{listen.path}"
    if listen.name:
        return False  # its address is known at the start only; a loop is seen by its trace field
    if port != listen.port:
        return False
    host, name = listen.host.lower(), server.strip("[]").rstrip(".").lower()
    local = routing.is_local(server) or name == socket.gethostname().lower()
    return host == name or (local and (host in ("0.0.0.0", "::", "*") or routing.is_local(host)))  # noqa: S104


def _open_relay(loaded: Loaded) -> None:
    listener = loaded.configuration.listener
    for network in listener.allow:
        if network.prefixlen == 0 and not listener.passwd_file:
            text = f"{network} is everybody, and there is no AUTH: name the networks that may send"
            loaded.fault("listener", "allow", text)
    beyond = [listen for listen in listener.listen if listen.host and not routing.is_local(listen.host)]
    if beyond and not loaded.given("listener", "allow") and not listener.passwd_file:
        text = f"{beyond[0]} can be reached from other hosts: set allow to the networks that may send"
        loaded.fault("listener", "listen", text)
    if beyond and listener.passwd_file and not listener.tls_certificate:
        text = f"no password is taken from other hosts ({beyond[0]}) without TLS: set tls_certificate too"
        loaded.fault("listener", "passwd_file", text)


def _gate(loaded: Loaded) -> None:
    listener = loaded.configuration.listener
    if listener.tls_key and not listener.tls_certificate:
        loaded.fault("listener", "tls_key", "there is no tls_certificate that it belongs to: set it too")
    for name in ("tls_certificate", "tls_key"):
        held = getattr(listener, name)
        keeps_key = held and (name == "tls_key" or not listener.tls_key)
        if keeps_key and loaded.exposed("listener", name, Path(held)):
            return
    try:
        gate.context_of(listener)
    except ssl.SSLError as fault:
        mismatch = fault.reason == "KEY_VALUES_MISMATCH"
        text = "no certificate with its private key can be read: both in PEM, the key without a pass phrase"
        loaded.fault("listener", "tls_certificate", "the key belongs to another certificate" if mismatch else text)
    except OSError as fault:
        loaded.fault("listener", "tls_certificate", f"{fault.filename or ''}: {fault.strerror}")
    if listener.passwd_file:
        _passwords(loaded, Path(listener.passwd_file))
    tls_ports = [listen for listen in listener.listen if listen.port == securing.IMPLICIT_PORT and listen.host]
    if tls_ports and not listener.tls_certificate:
        loaded.fault(
            "listener", "listen", f"{tls_ports[0]}: port 465 speaks TLS at once: set tls_certificate, or another port"
        )


def _passwords(loaded: Loaded, path: Path) -> None:
    if loaded.exposed("listener", "passwd_file", path):
        return
    try:
        known, faults = passwords.read(namedfile.read(path).decode("utf-8"))
    except (OSError, UnicodeError) as fault:
        loaded.fault("listener", "passwd_file", f"{path}: {getattr(fault, 'strerror', None) or 'not UTF-8'}")
        return
    for number, text in faults:
        loaded.fault("listener", "passwd_file", f"{path}:{number}: {text}")
    if not known and not faults:
        loaded.warn_once("listener", "passwd_file", f"{path} names nobody: tracker-relay passwd LOGIN")


def _clashes(loaded: Loaded) -> None:
    """Two addresses of which the second could not be bound."""
    listens = loaded.configuration.listener.listen
    for number, one in enumerate(listens):
        for other in listens[:number]:
            if _clash(one, other):
                text = "it stands there twice" if one == other else f"{other} takes that address already"
                loaded.fault("listener", "listen", f"{one}: {text}: remove one of them")


def _clash(one: Listen, other: Listen) -> bool:
    if one.path or other.path:
        return one.path == other.path
    same_port = one.port == other.port and one.port != 0
    return same_port and any(_overlap(a, b) for a in _hosts(one) for b in _hosts(other))


def _hosts(listen: Listen) -> tuple[str, ...]:
    host = listen.host.lower()
    return ("127.0.0.1", "::1") if host == "localhost" else (host,)


def _overlap(host: str, other: str) -> bool:
    """True when both can not be bound; asyncio keeps IPv4 out of an IPv6 socket."""
    try:
        one, two = ipaddress.ip_address(host), ipaddress.ip_address(other)
    except ValueError:
        return host == other
    return one == two or (one.version == two.version and (one.is_unspecified or two.is_unspecified))


def _dropping(loaded: Loaded) -> None:
    for profile in loaded.configuration.notifications:
        section, default = profile.section, profile.section == DEFAULT
        if profile.policy.smtp_enabled or (not default and not loaded.given(section, "smtp_enabled")):
            continue  # what is inherited was said of [notification]
        state = "false" if loaded.given(section, "smtp_enabled") else "absent, which means false"
        which = "" if default else " of this profile"
        if default and any(p.policy.smtp_enabled for p in loaded.configuration.profiles):
            which = " that no other profile matches"
        text = f"it is {state}: EVERY notification{which} is accepted and dropped; set smtp_enabled = true"
        loaded.warn(section, "smtp_enabled", text)


def _odd_words(loaded: Loaded) -> None:
    """Trac takes any word that it does not know for false: a slip of the pen would switch TLS off, silently."""
    for section, values in loaded.ini.sections.items():
        for kind in kinds_of(section):
            for name, field in declared(section, kind).items():
                if name in values and field.metadata["parse"] is trac_boolean and not is_trac_word(values[name].text):
                    text = f"{values[name].text!r} means false here, as in Trac: write true or false"
                    loaded.warn(section, name, text)


def _staging(loaded: Loaded) -> None:
    for profile in loaded.configuration.notifications:
        policy = profile.policy
        if policy.staging:
            whom = ", ".join(map(str, policy.staging))
            loaded.warn_once(profile.section, "staging", f"all of this mail goes to {whom}, and to nobody else")
        stored = loaded.configuration.users.stored
        bare = [one for one in policy.staging if policy.full(stored.get(str(one), one)).short]
        if bare and not policy.use_short_addr:
            text = f"{bare[0]} has no domain: write it whole, or set smtp_default_domain"
            loaded.fault_once(profile.section, "staging", text)


def _short_addresses(loaded: Loaded) -> None:
    named = dict(loaded.configuration.upstreams)
    for profile in loaded.configuration.notifications:
        hops = [named[name] for name in profile.next_hop.upstream if name in named] or [profile.next_hop]
        public = [hop.smtp_server for hop in hops if hop.smtp_server and not _in_own_network(hop.smtp_server)]
        if profile.policy.use_short_addr and public:
            text = f"bare names go to {public[0]} as they are; only a mail server of your own network knows them"
            loaded.warn_once(profile.section, "use_short_addr", text)


def _in_own_network(server: str) -> bool:
    try:
        return routing.is_local(server) or ipaddress.ip_address(server.strip("[]")).is_private
    except ValueError:
        return "." not in server


def _status(loaded: Loaded) -> None:
    """The status page: reached by whom, under which name, and its token's file as closed as any secret's."""
    status, listener = loaded.configuration.status, loaded.configuration.listener
    for listen in status.listen:
        if listen in listener.listen and (listen.path or listen.port):
            text = f"{listen} is where mail is taken ([listener] listen): name another port"
            # The default is no reason to refuse a start: mail comes first, and there is no page then.
            (loaded.fault if loaded.given("status", "listen") else loaded.warn)("status", "listen", text)
        elif not listen.path and not routing.is_local(listen.host):
            text = f"{listen} can be reached from other hosts, without TLS: put a reverse proxy with TLS in front"
            if not loaded.given("status", "hosts"):
                text += ", and set hosts to the names that the page is asked for under"
            loaded.warn("status", "listen", text)
    if status.listen and status.token_file and os.path.exists(status.token_file):
        loaded.exposed("status", "token_file", Path(status.token_file))


def _log(loaded: Loaded) -> None:
    file = Path(loaded.configuration.log.file)
    try:
        wrong = "it is a folder: name a file in it" if loaded.configuration.log.file and file.is_dir() else ""
        file.parent.stat()
    except FileNotFoundError:
        if str(file.parent) == places.LOGS:
            return  # `check` comes before the first start, which makes it
        wrong = f"there is no folder {file.parent}: make it, for the relay's user"
    except OSError:
        return  # nothing that this user may see
    if wrong:
        loaded.fault("log", "file", wrong)


CHECKS: tuple[Callable[[Loaded], None], ...] = (
    _sender,
    _next_hop,
    _dkim,
    _own_listener,
    _open_relay,
    _gate,
    _clashes,
    *PROFILE_CHECKS,
    *ROUTE_CHECKS,
    *CLIENT_CHECKS,
    oauth_checks.tokens,
    _dropping,
    _odd_words,
    _staging,
    _short_addresses,
    _status,
    _log,
)
