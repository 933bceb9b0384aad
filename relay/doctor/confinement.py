"""Confinement: SELinux and AppArmor. They say "Permission denied"; a server that is down says "Connection refused"."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from relay.doctor.finding import Finding, ok, warn
from relay.routing import Upstream

MODULE = "make -C contrib/selinux install"
WITHOUT_MODULE = "semanage port -a -t smtp_port_t -p tcp {port}; setsebool -P httpd_can_sendmail 1"
USUAL_PORTS = (25, 465, 587)
"""Ports to which the module lets the relay connect."""


def confinement(port: int, hops: Iterable[Upstream], root: Path = Path("/")) -> Iterator[Finding]:
    """What this host's policies mean for a tracker that connects to `port`, and for the relay. `root` is for tests."""
    mode = _read(root / "sys/fs/selinux/enforce")
    if mode == "1":
        yield _module(port, root)
        yield from _outgoing(hops, root)
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
    """Mail servers that the confined relay may not reach."""
    if not installed(root):
        return
    for port in sorted({hop.port for hop in hops if hop.server and not hop.server.startswith("unix:")}):
        if port == 2525 and _boolean(root, "tracker_relay_connect_2525") is False:
            text = "the relay may not connect to mail servers on port 2525"
            yield warn("policy", "SELinux", text, "setsebool -P tracker_relay_connect_2525 on")
        elif port not in (*USUAL_PORTS, 2525):
            text = f"the relay may connect to port {port} only where that is labelled as a mail port"
            yield warn("policy", "SELinux", text, f"semanage port -a -t smtp_port_t -p tcp {port}")
    if any(hop.oauth for hop in hops) and _boolean(root, "tracker_relay_connect_https") is False:
        text = "the relay may not ask the token server: tracker_relay_connect_https is off"
        yield warn("policy", "SELinux", text, "setsebool -P tracker_relay_connect_https on")


def _boolean(root: Path, name: str) -> bool | None:
    """A boolean of the running policy; None when it knows none of that name."""
    state = _read(root / "sys/fs/selinux/booleans" / name)
    return state.startswith("1") if state else None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip("\0\n ")
    except OSError:
        return ""
