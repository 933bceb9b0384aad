"""Confinement: SELinux and AppArmor. They say "Permission denied"; a server that is down says "Connection refused"."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from relay.doctor.finding import Finding, ok, warn
from relay.records import DNS_PORT, Nameserver
from relay.routing import Upstream

MODULE = "make -C contrib/selinux install"
WITHOUT_MODULE = "semanage port -a -t smtp_port_t -p tcp {port}; setsebool -P httpd_can_sendmail 1"
USUAL_PORTS = (25, 465, 587)
"""Ports to which the module lets the relay connect."""


def confinement(
    port: int, hops: Sequence[Upstream], nameservers: Iterable[Nameserver] = (), root: Path = Path("/")
) -> Iterator[Finding]:
    """What this host's policies mean for a tracker that connects to `port`, and for the relay. `root` is for tests."""
    mode = _read(root / "sys/fs/selinux/enforce")
    if mode == "1":
        yield _module(port, root)
        yield from _outgoing(hops, root)
        yield from _asking(hops, nameservers, root)
    elif mode == "0":
        yield ok("policy", "SELinux", "permissive: it forbids nothing, and logs what it would forbid")
    if _read(root / "sys/module/apparmor/parameters/enabled") == "Y":
        profile = _read(root / "proc/self/attr/current")
        text = "on: where a tracker gets EACCES, its profile lacks `network inet stream,`"
        yield ok("policy", "AppArmor", f"{text}; this command runs {profile or 'unconfined'}")
    elif not mode:
        yield ok("policy", "host", "neither SELinux nor AppArmor is on")


def enforcing(root: Path = Path("/")) -> bool:
    """Whether SELinux forbids anything here."""
    return _read(root / "sys/fs/selinux/enforce") == "1"


def remedy(port: int, root: Path = Path("/")) -> str:
    """What to type when a tracker's connection to our `port` ends in EACCES."""
    if enforcing(root):
        return f"{MODULE}\nor without the module: {WITHOUT_MODULE.format(port=port)}\n{_DENIED}"
    return _ELSEWHERE


def outgoing_remedy(port: int, root: Path = Path("/")) -> str:
    """The same of our own connection to a mail server's `port`."""
    return f"semanage port -a -t smtp_port_t -p tcp {port}\n{_DENIED}" if enforcing(root) else _ELSEWHERE


_DENIED = "ausearch -m AVC -ts recent"
_ELSEWHERE = "journalctl -k | grep -e DENIED -e avc\nnft list ruleset; systemctl show tracker-relay -p IPAddressDeny"


def _module(port: int, root: Path) -> Finding:
    if installed(root):
        if _boolean(root, "tracker_relay_web_submit") is False:
            text = "enforcing, and web applications may not submit: tracker_relay_web_submit is off"
            return warn("policy", "SELinux", text, "setsebool -P tracker_relay_web_submit on")
        return ok("policy", "SELinux", "enforcing, with the module tracker_relay")
    text = f"enforcing, without the module tracker_relay: web applications may get EACCES at port {port}"
    return warn("policy", "SELinux", text, f"{MODULE}\nor without the module: {WITHOUT_MODULE.format(port=port)}")


def installed(root: Path) -> bool:
    """Whether the module is there: its booleans are, in the running policy."""
    return _boolean(root, "tracker_relay_web_submit") is not None


def _outgoing(hops: Iterable[Upstream], root: Path) -> Iterator[Finding]:
    """Mail servers that the confined relay may not reach. The ports of srv:DOMAIN are not known yet."""
    if not installed(root):
        return
    local = [hop.server for hop in hops if hop.server.startswith("unix:")]
    yield from unreachable({hop.port for hop in hops if hop.port and hop.server not in local}, root)
    for server in dict.fromkeys(local):
        text = f"the relay may not connect to {server}, unless a policy of yours allows it"
        yield warn("policy", "SELinux", text, f"{_DENIED} | audit2allow -M relay_local; semodule -i relay_local.pp")


def unreachable(ports: Iterable[int], root: Path = Path("/")) -> Iterator[Finding]:
    """Those of these ports of mail servers that the confined relay may not connect to."""
    if not (enforcing(root) and installed(root)):
        return
    for port in sorted(set(ports)):
        if port == 2525 and _boolean(root, "tracker_relay_connect_2525") is False:
            text = "the relay may not connect to mail servers on port 2525"
            yield warn("policy", "SELinux", text, "setsebool -P tracker_relay_connect_2525 on")
        elif port not in (*USUAL_PORTS, 2525):
            text = f"the relay may connect to port {port} only where that is labelled as a mail port"
            yield warn("policy", "SELinux", text, f"semanage port -a -t smtp_port_t -p tcp {port}")


def _asking(hops: Sequence[Upstream], nameservers: Iterable[Nameserver], root: Path) -> Iterator[Finding]:
    """What else the confined relay may not ask on its mail's behalf: by HTTPS, and of DNS."""
    if not installed(root):
        return
    if _boolean(root, "tracker_relay_connect_https") is False:
        remedy = "setsebool -P tracker_relay_connect_https on"
        if any(hop.oauth for hop in hops):
            text = "the relay may not ask the token server: tracker_relay_connect_https is off"
            yield warn("policy", "SELinux", text, remedy)
        if any(hop.is_mx and hop.sts for hop in hops):
            text = "the relay may not fetch MTA-STS policies, and sends without: tracker_relay_connect_https is off"
            yield warn("policy", "SELinux", text, f"{remedy}\nor, to do without them:\n[mx]\nmta_sts = false")
    for port in sorted({one.port for one in nameservers} - {DNS_PORT}):
        text = f"the relay may ask DNS over TCP at port {port} only where that is labelled so; over UDP it may"
        yield warn("policy", "SELinux", text, f"semanage port -a -t dns_port_t -p tcp {port}")


def _boolean(root: Path, name: str) -> bool | None:
    """A boolean of the running policy; None when it knows none of that name."""
    state = _read(root / "sys/fs/selinux/booleans" / name)
    return state.startswith("1") if state else None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip("\0\n ")
    except OSError:
        return ""
