"""The next hop of a trac.ini: smtp_server, smtp_port, use_tls, smtp_user, smtp_password, email_sender."""

import re

from relay import services
from relay.importing.draft import Draft
from relay.routing import is_local
from relay.securing import IMPLICIT_PORT

PORT = 2525
"""Where the relay listens, and trac.ini will point."""
_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/\s]+):(?P<port>\d{1,5})")


def convert(draft: Draft, password_file: str) -> str:
    """Put the options of the next hop into the draft; the password itself is returned, "" when there is none."""
    if draft.word("email_sender") == "SendmailEmailSender":
        path = draft.word("sendmail_path") or "sendmail"
        draft.put(
            "smtp_server", "localhost", f"Trac runs {path}; this is the mail server that it most likely hands to."
        )
        draft.put("smtp_port", "25")
        return ""
    server, port = _server(draft)
    draft.put("smtp_server", server)
    if not server:
        return ""
    draft.put("smtp_port", str(port))
    user, password = draft.text("smtp_user").strip(), draft.given.get("smtp_password", "")
    _tls(draft, port, exposed=bool(user) and not is_local(server))
    if user and password:
        draft.put("smtp_user", user)
        draft.put(
            "smtp_password_file", password_file, "The password itself stands in this file, which only you may read."
        )
        if "%%" in password and not password.replace("%%", "").count("%"):
            text = "The password holds %%: where your Trac is so old that it reads this as one %, write one % there."
            draft.remark("smtp_password_file", text)
        return password
    if user:
        draft.remark("smtp_user", f"{user} has no smtp_password in trac.ini, so there is no log-in")
    if password:
        draft.remark("smtp_password", "trac.ini has one without smtp_user, so Trac does not log in; it is left out")
    return ""


def _server(draft: Draft) -> tuple[str, int]:
    """Where Trac sends to; "" where that is the relay already."""
    server = draft.word("smtp_server").rpartition("://")[2].rstrip("/") or "localhost"
    port = _port(draft)
    if found := _HOST_AND_PORT.fullmatch(server):
        server, port = found["host"], int(found["port"]) if "smtp_port" not in draft.given else port
        draft.remark("smtp_server", f"trac.ini says {draft.word('smtp_server')}")
    try:
        services.server_name(server)
    except ValueError:
        draft.remark("smtp_server", f"{server!r} is no host name: name the mail server")
        return "localhost", port
    if is_local(server) and port == PORT:
        draft.remark(
            "smtp_server", "trac.ini points to the relay already: name the mail server here; none is the outbox."
        )
        return "", port
    return server, port


def _port(draft: Draft) -> int:
    word = draft.word("smtp_port")
    if re.fullmatch(r"\d{1,5}", word) and 1 <= int(word) <= 65535:
        return int(word)
    if word:
        draft.remark("smtp_port", f"trac.ini says {word!r}, with which Trac sends nothing; this is Trac's default")
    return 25


def _tls(draft: Draft, port: int, *, exposed: bool) -> None:
    """Trac's use_tls is STARTTLS without a look at the certificate; port 465 it can not do at all."""
    use_tls = draft.boolean("use_tls")
    if port == IMPLICIT_PORT:
        draft.values.pop("use_tls", None)
        draft.remark("smtp_port", "465 is TLS from the first octet, which Trac can not speak and this relay does.")
        return
    if use_tls:
        text = "Here the certificate must prove the server's name, which Trac ignores: tls_ca_file for your own CA."
        draft.remark("use_tls", text)
    elif exposed:
        text = "trac.ini sends the password unprotected. This relay never does: the server must offer STARTTLS."
        draft.put("use_tls", "true", text)
