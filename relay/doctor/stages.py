"""Stages: what a session with a next hop has shown, as rows; no I/O."""

import ssl
from collections.abc import Iterator

from relay.doctor import proof
from relay.doctor.certificate import Certificate, certificate
from relay.doctor.finding import Finding, fail, ok, printable, warn
from relay.doctor.hop import Hop
from relay.entry import Cause
from relay.link import Seen
from relay.linkfault import LinkFault, tls_fault
from relay.proving import NotProven
from relay.routing import is_local
from relay.tls import Level

SOON = 14
"""Days of a certificate that are few."""
_TOLD = ("SIZE", "8BITMIME", "SMTPUTF8", "PIPELINING")
_PROVIDERS = {
    "gmail.com": "Google takes an app password (myaccount.google.com/apppasswords) or OAuth2: docs/upstreams.md",
    "office365.com": "Microsoft takes OAuth2 only: docs/upstreams.md",
    "outlook.com": "Microsoft takes OAuth2 only: docs/upstreams.md",
}

# What OpenSSL says of a certificate (X509_V_ERR_...).
_EXPIRED, _NOT_YET, _SELF_SIGNED, _WRONG_NAME = (10,), (9,), (18, 19), (62, 64)


def reached(hop: Hop, seen: Seen, fault: LinkFault | None) -> Iterator[Finding]:
    """The rows of every stage that went well, or well enough."""
    yield from proof.published(hop, seen)
    if seen.greeting:
        yield ok("greeting", hop.about, printable(seen.greeting))
    if seen.level is None:
        return
    if hop.upstream.is_exchanger and seen.level in (Level.PLAIN, Level.ENCRYPTED):
        yield ok("tls", hop.about, _with_a_stranger(seen))
    else:
        yield from _secured(hop, seen)
    yield _features(hop, seen)
    if fault is None and not hop.token_missing:
        if hop.upstream.logs_in:
            who = hop.upstream.user or "the client certificate"
            yield ok("auth", hop.about, f"logged in as {who} by {seen.mechanism}")
        else:
            yield ok("auth", hop.about, "no log-in is configured, none is made")


def _secured(hop: Hop, seen: Seen) -> Iterator[Finding]:
    about, up = hop.about, hop.upstream
    if seen.tls_fault:
        text = f"its TLS does not work ({seen.tls_fault.text}), so mail goes in plain text"
        yield warn("tls", about, text, hop.line("use_tls", "true"))
    if seen.level is Level.PLAIN:
        if is_local(up.server):
            yield ok("tls", about, "none; what is said there does not leave this host")
        elif not seen.tls_fault:
            why = "tls is none" if up.tls == "none" else "the server offers no STARTTLS"
            yield warn("tls", about, f"{why}: mail crosses the network in plain text", hop.line("use_tls", "true"))
        return
    found = certificate(seen)
    told = f"{seen.version}, {seen.cipher}" + (f"; {found}" if found else "")
    if seen.level is Level.ENCRYPTED:
        why = "tls is opportunistic" if up.tls == "opportunistic" else "tls_verify is false, or tls_proof none"
        remedy = hop.line("use_tls", "true") if up.tls == "opportunistic" else hop.line("tls_proof", "pkix")
        yield warn("tls", about, f"{told}; nothing proves that it is {up.server}: {why}", remedy)
    if by := proof.without_dates(hop, seen):
        yield ok("tls", about, f"{told}; it proves {up.server} by {by}")
        return
    if found is None:
        return
    left = f"{found.days} days left"
    if found.days < SOON:
        text = f"{told}; it ends soon: {left}, then no mail goes" if found.days >= 0 else f"{told}; it has ended"
        yield warn("tls", about, text, f"the administrator of {up.server} must renew it")
    elif seen.level is not Level.ENCRYPTED:
        by = "an authority that its TLSA records name" if seen.level is Level.DANE else _authorities(hop)
        yield ok("tls", about, f"{told}; it proves {up.server} by {by}; {left}")


def _with_a_stranger(seen: Seen) -> str:
    """Of a mail server that DNS has named, and of which no proof is asked."""
    if seen.level is Level.ENCRYPTED:
        return f"{seen.version}, {seen.cipher}; mail to strangers' servers asks for no proof"
    why = f"its TLS does not work ({seen.tls_fault.text})" if seen.tls_fault else "it offers no STARTTLS"
    return f"none: {why}, so its mail crosses the network in plain text"


def _authorities(hop: Hop) -> str:
    return f"tls_ca_file {hop.upstream.ca_file}" if hop.upstream.ca_file else "an authority of this system"


def _features(hop: Hop, seen: Seen) -> Finding:
    told = [f"{name} {seen.keywords[name]}".strip() for name in _TOLD if name in seen.keywords]
    missing = [name for name in _TOLD if name not in seen.keywords]
    text = ", ".join(told) or "nothing that matters"
    text += f"; not {', '.join(missing)}" if missing else ""
    text += f"; AUTH {' '.join(seen.mechanisms)}" if seen.mechanisms else "; no AUTH"
    return ok("ehlo", hop.about, text)


# --- where it broke off ----------------------------------------------------------------------------


def not_greeted(hop: Hop, seen: Seen, fault: LinkFault) -> Finding:
    """No greeting, a refusal instead of one, or no EHLO."""
    up = hop.upstream
    if seen.greeting:
        return fail("ehlo", hop.about, f"EHLO fails: {fault.reply.text}", f"ask the administrator of {up.server}")
    if fault.reply.text.startswith("the server said"):
        advice = f"ask the administrator of {up.server} to let this host in; 25 is often closed to strangers:"
        return fail("greeting", hop.about, f"refused: {fault.reply.text}", f"{advice}\n{hop.line('smtp_port', '587')}")
    text = f"no SMTP server greets there: {fault.reply.text}"
    return fail("greeting", hop.about, text, hop.line("smtp_port", "(25, 465 or 587, as its provider says)"))


def starttls_lines(hop: Hop) -> str:
    """What makes a connection begin in plain text."""
    port = 587 if hop.upstream.port == 465 else hop.upstream.port
    first, rest = hop.line("smtp_port", str(port)).rsplit("\n", 1)
    return f"{first}\n{rest}\ntls = starttls"


def implicit_lines(hop: Hop) -> str:
    """What makes a connection begin with TLS."""
    return f"{hop.line('tls', 'implicit')}\n(and remove use_tls there)"


def tls_failed(hop: Hop, seen: Seen, fault: LinkFault, shown: Certificate | None) -> Finding:
    """TLS did not come about, or proved too little; `shown` is the certificate that those see who ask for no proof."""
    up, text = hop.upstream, fault.reply.text
    told = f"{text}; it is a {shown}" if shown else text
    if isinstance(fault.__cause__, NotProven):
        return proof.not_proven(hop, told, seen)
    broken = tls_fault(fault)
    if hop.upstream.is_exchanger:
        return fail("tls", hop.about, told, f"ask the administrator of {up.server}: mail waits until it is mended")
    if isinstance(broken, ssl.SSLCertVerificationError):
        return fail("tls", hop.about, told, _certificate_remedy(hop, broken.verify_code, shown))
    if "offers no STARTTLS" in text:
        return fail(
            "tls", hop.about, text, f"port 465, or the server's administrator must enable STARTTLS:\n{_at_465(hop)}"
        )
    if "STARTTLS refused" in text:
        return fail("tls", hop.about, text, f"ask the administrator of {up.server}, or:\n{_at_465(hop)}")
    remedy = f"openssl s_client -connect {up.server}:{up.port}" + (" -starttls smtp" if up.tls != "implicit" else "")
    return fail("tls", hop.about, f"{text} (TLS 1.2 or later is asked for)", remedy)


def _at_465(hop: Hop) -> str:
    return f"{hop.line('smtp_port', '465')}\n(and remove use_tls and tls there)"


def _certificate_remedy(hop: Hop, code: int, shown: Certificate | None) -> str:
    server = hop.upstream.server
    if code in _EXPIRED:
        return f"the administrator of {server} must renew it"
    if code in _NOT_YET:
        return "set this host's clock: timedatectl"
    if code in _WRONG_NAME:
        names = [name for name in shown.names if not name.startswith("*")] if shown else []
        right = names[0] if names else "(a name that stands in the certificate)"
        return f"name the server as its certificate does:\n{hop.line('smtp_server', right)}"
    line = hop.line("tls_ca_file", "(the authority's certificate, PEM)")
    if code in _SELF_SIGNED:
        return f"it is signed by itself, or by an authority of your own: name that\n{line}"
    return f"its authority is not known here, or the server sends its chain incompletely:\n{line}"


def not_in(hop: Hop, seen: Seen, fault: LinkFault) -> Finding:
    """The log-in did not come about, or was refused; the server's own words are in the fault."""
    text = fault.reply.text
    if "offers no AUTH" in text and seen.level is Level.PLAIN:
        text += " (many servers offer it after STARTTLS only)"
    if fault.cause not in (Cause.AUTH, Cause.TOKEN, Cause.TLS):
        text = f"the connection broke: {text}"
    return fail("auth", hop.about, text, _log_in_remedy(hop, seen, fault))


def _log_in_remedy(hop: Hop, seen: Seen, fault: LinkFault) -> str:
    up, offered = hop.upstream, "offers no AUTH" not in fault.reply.text
    if fault.cause is Cause.TLS or (not offered and seen.level is Level.PLAIN):
        return hop.line("use_tls", "true")
    if not offered:
        return f"name a port where it does (587 is for log-ins), or log in nowhere:\n{hop.line('smtp_user', '')}"
    if fault.cause is Cause.TOKEN or (fault.cause is Cause.AUTH and up.oauth):
        return f"tracker-relay auth login {hop.names[0]}\nsee also docs/upstreams.md"
    if fault.cause is not Cause.AUTH:
        return f"ask the administrator of {up.server}"
    lines = f"{hop.line('smtp_user', up.user)}\n{_password_line(hop)}"
    if not fault.refused:
        return f"the server may mend that itself: try it again in some minutes; else look at\n{lines}"
    advice = [words for name, words in _PROVIDERS.items() if up.server.lower().endswith(name)]
    return "\n".join([lines, *advice])


def _password_line(hop: Hop) -> str:
    return hop.line("smtp_password_file", "(a file with the right password)").rpartition("\n")[2]
