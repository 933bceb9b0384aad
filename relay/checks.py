"""Checks: what only several options together show to be wrong. Each check looks at one matter."""

import ipaddress
import socket
from collections.abc import Callable

from relay import routing
from relay.admission import Listen
from relay.loaded import Loaded


def _sender(loaded: Loaded) -> None:
    policy = loaded.configuration.policy
    bad = any(f.option in ("smtp_from", "smtp_replyto") for f in loaded.faults)
    if policy.smtp_from is None and policy.smtp_replyto is None and not bad:
        user = loaded.configuration.next_hop.smtp_user
        advice = f"set smtp_from = {user}" if "@" in user else "set one of them to the address that mail comes from"
        loaded.fault("notification", "smtp_from", f"neither smtp_from nor smtp_replyto is set: {advice}")
    for name, address in (("smtp_from", policy.smtp_from), ("smtp_replyto", policy.smtp_replyto)):
        if address and address.short and not policy.smtp_default_domain and not policy.use_short_addr:
            text = f"{address} has no domain: write it whole, or set smtp_default_domain"
            loaded.fault("notification", name, text)


def _next_hop(loaded: Loaded) -> None:
    for name, text in routing.faults(loaded.configuration.next_hop):
        loaded.fault("notification", name, text)


def _own_listener(loaded: Loaded) -> None:
    hop = loaded.configuration.next_hop
    listener = loaded.configuration.listener
    for listen in (*listener.listen, Listen(path=loaded.configuration.submission_socket)):
        if hop.smtp_server and _is_own(hop.smtp_server, hop.smtp_port or 25, listen):
            text = f"that is this relay's own listener ({listen}): name the mail server that it shall send to"
            loaded.fault("notification", "smtp_server", text)


def _is_own(server: str, port: int, listen: Listen) -> bool:
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
        if network.prefixlen == 0:
            text = f"{network} is everybody, and there is no AUTH: name the networks that may send"
            loaded.fault("listener", "allow", text)
    beyond = [listen for listen in listener.listen if listen.host and not routing.is_local(listen.host)]
    if beyond and not loaded.given("listener", "allow"):
        text = f"{beyond[0]} can be reached from other hosts: set allow to the networks that may send"
        loaded.fault("listener", "listen", text)


def _dropping(loaded: Loaded) -> None:
    if not loaded.configuration.policy.smtp_enabled:
        state = "false" if loaded.given("notification", "smtp_enabled") else "absent, which means false"
        text = f"it is {state}: EVERY notification is accepted and dropped; set smtp_enabled = true"
        loaded.warn("notification", "smtp_enabled", text)


def _short_addresses(loaded: Loaded) -> None:
    server = loaded.configuration.next_hop.smtp_server
    if not loaded.configuration.policy.use_short_addr or not server or routing.is_local(server):
        return
    try:
        private = ipaddress.ip_address(server.strip("[]")).is_private
    except ValueError:
        private = "." not in server
    if not private:
        text = f"bare names go to {server} as they are; only a mail server of your own network knows them"
        loaded.warn("notification", "use_short_addr", text)


def _status(loaded: Loaded) -> None:
    if loaded.configuration.status.listen:
        loaded.warn("status", "listen", "this version has no status page yet: look at the log and the outbox")


CHECKS: tuple[Callable[[Loaded], None], ...] = (
    _sender,
    _next_hop,
    _own_listener,
    _open_relay,
    _dropping,
    _short_addresses,
    _status,
)
