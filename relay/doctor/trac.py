"""Trac: whether a trac.ini hands its notifications to this relay, in a way that works."""

from collections.abc import Iterator
from pathlib import Path

from relay.admission import Listen
from relay.checks import is_own
from relay.doctor.finding import Finding, fail, ok, warn
from relay.errors import RelayError
from relay.importing import tracini
from relay.loaded import Configuration
from relay.options import trac_boolean

PROGRAM = "tracker-relay-sendmail"
_SECTION = "[notification]"


def trac(config: Configuration, path: Path) -> Iterator[Finding]:
    """The [notification] section, option by option; only what is wrong is a row of its own."""
    try:
        ini = tracini.read(path)
    except OSError as fault:
        yield fail("trac", str(path), str(fault.strerror), "name the trac.ini, or the folder of its environment")
        return
    except RelayError as fault:
        yield fail("trac", str(path), str(fault), "correct that line")
        return
    options = {name: tracini.without_comment(value).strip() for name, value in ini.section("notification").items()}
    about = str(ini.path)
    for remark in ini.remarks:
        yield warn("trac", about, remark, "[inherit]\nfile = (a file that this user can read)")
    found = [*_enabled(about, options), *_road(config, about, options), *_catch_all(config, about, options)]
    yield from found
    if not found:
        yield ok("trac", about, "its notifications come to this relay")


def _true(options: dict[str, str], name: str) -> bool:
    return trac_boolean(options.get(name, ""))


def _enabled(about: str, options: dict[str, str]) -> Iterator[Finding]:
    if not _true(options, "smtp_enabled"):
        state = options.get("smtp_enabled") or "absent, which means false"
        text = f"smtp_enabled is {state}: Trac sends nothing"
        yield fail("trac", about, text, f"{_SECTION}\nsmtp_enabled = true")


def _road(config: Configuration, about: str, options: dict[str, str]) -> Iterator[Finding]:
    """Where Trac sends, and whether the listener understands how."""
    if options.get("email_sender") == "SendmailEmailSender":
        yield from _sendmail(about, options)
        return
    yield from _address(config, about, options)
    if _true(options, "use_tls") and not config.listener.tls_certificate:
        text = "use_tls is on, and this relay's listener offers no STARTTLS: Trac's connection fails"
        yield fail("trac", about, text, f"{_SECTION}\nuse_tls = false")
    if options.get("smtp_user") and not config.listener.passwd_file:
        text = "smtp_user is set, and this relay's listener asks for no log-in: Trac's connection fails"
        yield fail("trac", about, text, f"{_SECTION}\nsmtp_user =\nsmtp_password =")


def _address(config: Configuration, about: str, options: dict[str, str]) -> Iterator[Finding]:
    server, word = options.get("smtp_server") or "localhost", options.get("smtp_port") or "25"
    listens = [listen for listen in config.listener.listen if listen.port]
    port = int(word) if word.isascii() and word.isdigit() and len(word) < 6 else 0
    if not listens:
        text = "this relay has no port of its own that could be compared: systemd or a unix socket gives it its mail"
        yield warn("trac", about, text, "systemctl list-sockets")
        return
    if any(is_own(server, port, listen) for listen in listens):
        return
    wanted = _wanted(listens)
    right = [listen for listen in listens if is_own(server, listen.port, listen)]
    if right:
        text = (
            f"smtp_port is {word if 'smtp_port' in options else 'absent, which means 25'}: the relay is at {right[0]}"
        )
        yield fail("trac", about, text, f"{_SECTION}\nsmtp_port = {right[0].port}")
    else:
        text = f"smtp_server is {server}, port {word}: its mail does not come to this relay, which is at {wanted}"
        yield fail("trac", about, text, f"{_SECTION}\nsmtp_server = {wanted.host}\nsmtp_port = {wanted.port}")


def _wanted(listens: list[Listen]) -> Listen:
    """Where a tracker on this host should send to."""
    first = listens[0].reachable
    return Listen("localhost", first.port) if first.host in ("127.0.0.1", "::1") else first


def _sendmail(about: str, options: dict[str, str]) -> Iterator[Finding]:
    path = options.get("sendmail_path") or "sendmail"
    program = Path(path)
    if program.name == PROGRAM or (program.is_absolute() and program.resolve().name == PROGRAM):
        return
    text = f"Trac hands its mail to {path}, and that is not this relay's drop-in, as far as its name tells"
    yield warn("trac", about, text, f"{_SECTION}\nsendmail_path = /usr/local/bin/{PROGRAM}")


def _catch_all(config: Configuration, about: str, options: dict[str, str]) -> Iterator[Finding]:
    """Trac 1.2 and later send nothing about an event to which nobody has subscribed."""
    always = ",".join(options.get(name, "") for name in ("smtp_always_cc", "smtp_always_bcc")).lower()
    words = {word.strip(" <>") for word in always.replace(";", ",").replace(" ", ",").split(",")} - {""}
    ours = [str(address) for address in config.listener.catch_all]
    if words & {address.lower() for address in ours} or (words and not ours):
        return
    if ours:
        text = f"smtp_always_cc names none of catch_all ({', '.join(ours)}): Trac 1.2 and later send nothing to it"
        yield warn("trac", about, text, f"{_SECTION}\nsmtp_always_cc = {ours[0]}")
        return
    text = "Trac 1.2 and later send nothing about an event to which nobody has subscribed, and this relay never sees it"
    address = f"in@{config.listener.hostname or 'relay.example.com'}"
    line = f"{_SECTION}\nsmtp_always_cc = {address}"
    yield warn("trac", about, text, f"in trac.ini:\n{line}\nin {config.path}:\n[listener]\ncatch_all = {address}")
