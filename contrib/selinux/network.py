"""What is proved of the relay's connections, out and in; and that nothing it needs for them is lacking."""

from policy import DEFAULT, GENERAL, Policy
from terms import AUTHORITIES, DAEMON, NETWORK, PORT, PORTS, RESOLV_CONF, STATUS_PORT, Found, beyond, only


def ports(policy: Policy) -> Found:
    """Ports 2525 and 8025 carry the relay's own types; 25, 465, 587 that of mail, 53 of DNS, 443 of the web."""
    return [f"{n}: {policy.port(n)}" for n, name in PORTS.items() if policy.port(n) != name]


def connects(policy: Policy) -> Found:
    """It connects to mail and DNS ports only, by default."""
    return beyond(policy.granted(DAEMON, NETWORK, "name_connect", DEFAULT), {"smtp_port_t", "dns_port_t"})


def connects_ever(policy: Policy) -> Found:
    """It connects to nothing but mail, DNS, HTTPS and its own port, under any boolean."""
    wanted = {"smtp_port_t", "dns_port_t", "http_port_t", PORT}
    return only(policy.granted(DAEMON, NETWORK, "name_connect"), wanted)


def connects_by_its_own_booleans(policy: Policy) -> Found:
    """HTTPS, and mail servers on port 2525, open by a boolean of its own each, and by no other of this host."""
    for name, port in (("tracker_relay_connect_https", "http_port_t"), ("tracker_relay_connect_2525", PORT)):
        if port not in policy.granted(DAEMON, "tcp_socket", "name_connect", {name: True}):
            yield f"{name} does not open {port}"
        others = {other: True for other in policy.booleans if not other.startswith(GENERAL)}
        if port in policy.granted(DAEMON, "tcp_socket", "name_connect", {**others, name: False}):
            yield f"{port} is open without {name}"


def asks_dns(policy: Policy) -> Found:
    """It asks name servers over UDP and TCP, those of /etc/resolv.conf too, by default."""
    for cls, perms in (("udp_socket", ("create", "connect", "read", "write")), ("tcp_socket", ("create", "connect"))):
        lacking = [perm for perm in perms if not policy.granted(DAEMON, cls, perm, DEFAULT, to=DAEMON)]
        yield from (f"{cls}: no {perm}" for perm in lacking)
    if not policy.granted(DAEMON, "tcp_socket", "name_connect", DEFAULT, to="dns_port_t"):
        yield "no DNS over TCP"
    if not policy.granted(DAEMON, "file", "read", DEFAULT, to=RESOLV_CONF):
        yield "it can not read /etc/resolv.conf"


def knows_its_own_addresses(policy: Policy) -> Found:
    """It can find out which addresses are this host's, without a port: no mail of direct delivery goes round."""
    if not policy.granted(DAEMON, "udp_socket", "bind", DEFAULT, to=DAEMON):
        yield "no bind"
    if not policy.granted(DAEMON, "udp_socket", "node_bind", DEFAULT, to="node_t"):
        yield "no node_bind"
    yield from (f"UDP port: {port}" for port in sorted(policy.granted(DAEMON, "udp_socket", "name_bind")))


def knows_the_authorities(policy: Policy) -> Found:
    """It reads the authorities by which a mail server, a token server and a policy's web server prove themselves."""
    return [] if policy.granted(DAEMON, "file", "read", DEFAULT, to=AUTHORITIES) else ["it does not"]


def binds(policy: Policy) -> Found:
    """It binds its own two ports and no other, never."""
    return beyond(policy.granted(DAEMON, NETWORK, "name_bind"), {PORT, STATUS_PORT})


def sockets(policy: Policy) -> Found:
    """It opens TCP, UDP and local sockets only: none that reads packets or asks the kernel."""
    kinds = {"tcp_socket", "udp_socket", "unix_stream_socket", "unix_dgram_socket", "netlink_route_socket"}
    return only((r.cls for r in policy.rules(DAEMON, perms="create") if r.cls.endswith("socket")), kinds)
