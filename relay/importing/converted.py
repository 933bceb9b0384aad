"""Converted: [notification] of a trac.ini, said in the relay's options so that the same mail leaves. Pure.

1. Each option alone: Trac's reading of its value, written so that `check` accepts it.
2. What only several show: a sender there must be, a password crosses nothing unprotected.
3. What Trac alone decides, or the relay does not know, is named, with the reason.
4. The lines to put back into trac.ini, so that its mail comes here and the relay alone does the rest.

A password is never part of the text: it is handed out apart.
"""

import re
from dataclasses import dataclass

from relay import options, policy
from relay.address import Address
from relay.importing import hop
from relay.importing.draft import Draft, comment
from relay.importing.tracini import TracIni
from relay.sections import WITHOUT_EFFECT

CATCH_ALL = "in@tracker-relay.invalid"
"""An address that Trac takes for one, and that leads nowhere should it ever leave (RFC 2606)."""
DEFAULT_SENDER = "trac@localhost"
"""Trac's own default of smtp_from."""
NOTIFY = ("always_notify_reporter", "always_notify_owner", "always_notify_updater")
TRAC_OPTIONS = (
    *("smtp_enabled", "smtp_server", "smtp_port", "smtp_user", "smtp_password", "use_tls", "email_sender"),
    *("smtp_from", "smtp_from_name", "smtp_from_author", "smtp_replyto", "smtp_default_domain", "smtp_subject_prefix"),
    *("smtp_always_cc", "smtp_always_bcc", "use_public_cc", "use_short_addr", "mime_encoding", "ignore_domains"),
    *NOTIFY,
)
"""What is said in the relay's options."""


@dataclass(frozen=True, slots=True)
class Converted:
    """The text of config.ini, the lines for trac.ini as comments behind it; and the password, "" when there is none."""

    text: str
    password: str


def convert(ini: TracIni, password_file: str) -> Converted:
    """`password_file` is what smtp_password_file will say, if there is a password."""
    draft = Draft(ini.section("notification"))
    _enabled(draft)
    password = hop.convert(draft, password_file)
    _addresses(draft)
    _text(draft)
    _people(draft, subscriptions=_has_subscriptions(ini))
    catch_all = any(draft.values.get(name, "false") not in ("", "false") for name in _ADDS)
    lines = [
        *comment(
            f"config.ini of tracker-relay, made from {ini.path}. Look at it with: tracker-relay --config FILE check"
        ),
        *(line for remark in ini.remarks for line in comment(remark)),
        *("", "[listener]", f"listen = 127.0.0.1:{hop.PORT}", *([f"catch_all = {CATCH_ALL}"] if catch_all else [])),
        *("", "[notification]", *draft.lines()),
        *_left_out(draft),
        *_users(draft),
        *_back(draft, catch_all=catch_all),
    ]
    return Converted("\n".join(lines) + "\n", password)


_ADDS = ("smtp_always_cc", "smtp_always_bcc", "always_notify_reporter", "always_notify_owner")


def _enabled(draft: Draft) -> None:
    if not draft.boolean("smtp_enabled"):
        why = "trac.ini does not set it" if "smtp_enabled" not in draft.given else "trac.ini says so"
        draft.put("smtp_enabled", "false", f"{why}: no notification is sent. Set it to true here and there.")


def _addresses(draft: Draft) -> None:
    draft.boolean("use_short_addr")
    try:
        draft.values["smtp_default_domain"] = options.domain(draft.word("smtp_default_domain"))
    except ValueError as fault:
        draft.remark("smtp_default_domain", f"{fault}: left out")
    if not draft.values.get("smtp_default_domain"):
        draft.values.pop("smtp_default_domain", None)
    found = {name: _sender(draft, name) for name in ("smtp_from", "smtp_replyto")}
    if not any(found.values()):
        _some_sender(draft)
    for name in ("smtp_always_cc", "smtp_always_bcc"):
        if name in draft.given:
            addresses = _list(draft, name)
            draft.put(name, ", ".join(map(str, addresses)))
            if bare := [address for address in addresses if address.short and not _has_domain(draft)]:
                draft.remark(name, f"{bare[0]} is a login: say in [users] who that is, else it is left out.")
    if domains := _domains(draft):
        draft.put("ignore_domains", domains)


def _sender(draft: Draft, name: str) -> Address | None:
    """An address that mail comes from. Trac takes `Name <a@b>` for an address and spoils both."""
    if name == "smtp_from" and name not in draft.given:
        draft.put(name, DEFAULT_SENDER, "Trac's default: set the address that mail shall come from.")
        return options.address(DEFAULT_SENDER)
    try:
        address = options.address(draft.word(name))
    except ValueError:
        draft.remark(name, f"{draft.text(name)!r} is no address: left out")
        return None
    if address is None:
        return None
    display = draft.word(name).partition("<")[0].strip().strip('"') if "<" in draft.word(name) else ""
    if display and name == "smtp_from" and not draft.text("smtp_from_name"):
        draft.put("smtp_from_name", display, "Trac takes the name in smtp_from for a part of the address.")
    if address.short and not _has_domain(draft):
        address = address.complete("localhost")
        draft.remark(name, f"trac.ini says {draft.word(name)}, without a domain: set the whole address.")
    draft.put(name, str(address))
    return address


def _has_domain(draft: Draft) -> bool:
    """True when a bare name needs none of its own."""
    return "smtp_default_domain" in draft.values or draft.values.get("use_short_addr") == "true"


def _some_sender(draft: Draft) -> None:
    """Neither smtp_from nor smtp_replyto: Trac refuses to send, or sends from nobody."""
    user = draft.values.get("smtp_user", "")
    try:
        address = options.address(user) if "@" in user else None
    except ValueError:
        address = None
    chosen = str(address or DEFAULT_SENDER)
    draft.put("smtp_from", chosen, "trac.ini names no sender: set the address that mail shall come from.")


def _list(draft: Draft, name: str) -> tuple[Address, ...]:
    """Addresses as Trac finds them; what is none is left out, and said."""
    value = draft.text(name)
    head, blank, tail = value.partition(" ;")
    if blank and not all("@" in word for word in re.split(r"[,;\s]+", tail) if word):
        value = head
        draft.remark(name, "what stands behind the ; is taken for a comment")
    try:
        return options.address_list(value)
    except ValueError:
        return tuple(address for word in re.split(r"[,;\s]+", value) if word and (address := _one(draft, name, word)))


def _one(draft: Draft, name: str, word: str) -> Address | None:
    try:
        return options.address(word)
    except ValueError:
        draft.remark(name, f"{word!r} is no address: left out")
        return None


def _domains(draft: Draft) -> str:
    kept: list[str] = []
    for word in re.split(r"[,\s]+", draft.word("ignore_domains")):
        try:
            kept.append(options.domain(word))
        except ValueError as fault:
            draft.remark("ignore_domains", f"{fault}: left out")
    return ", ".join(filter(None, kept))


def _text(draft: Draft) -> None:
    if draft.text("smtp_from_name"):
        draft.put("smtp_from_name", draft.text("smtp_from_name"))
    if draft.boolean("smtp_from_author"):
        draft.put("from", "keep", "smtp_from_author = true: From is the author's, as Trac writes it.")
    draft.values.pop("smtp_from_author", None)
    if "smtp_subject_prefix" in draft.given:
        draft.put("smtp_subject_prefix", draft.text("smtp_subject_prefix"))
    draft.boolean("use_public_cc")
    word = draft.word("mime_encoding")
    try:
        draft.put("mime_encoding", policy.encoding(word or "none"))
        if not word:
            draft.remark("mime_encoding", "Trac's default since 0.11.5; before, it was base64.")
    except ValueError:
        draft.put("mime_encoding", "auto", f"trac.ini says {word!r}, with which Trac sends nothing.")
    if draft.values["mime_encoding"] != "auto":
        draft.remark(
            "mime_encoding", "auto is plain text where that can be, else what is shorter: spam filters like it."
        )


def _has_subscriptions(ini: TracIni) -> bool:
    """True for Trac 1.2 and later, whose users say themselves what they want to hear of."""
    names = ini.section("notification")
    known = any(name.startswith("default_format") or name == "email_address_resolvers" for name in names)
    return known or "notification-subscriber" in ini.sections


def _people(draft: Draft, *, subscriptions: bool) -> None:
    for name in NOTIFY:
        if name in draft.given and subscriptions:
            text = "Trac 1.2 and later do not know it: users subscribe. Set it here to add these people all the same."
            draft.remark(name, text)
        else:
            draft.boolean(name)


def _left_out(draft: Draft) -> list[str]:
    """What of trac.ini's options is not here, and why. Their values are not shown: nobody knows what they hold."""
    lines: list[str] = []
    for name in draft.given:
        why = WITHOUT_EFFECT.get("default_format.email" if name.startswith("default_format.") else name, "")
        if name not in TRAC_OPTIONS and why:
            lines += comment(
                f"{name}: {why.removesuffix('it has no effect here').rstrip(' ;.')}. It stays in trac.ini."
            )
    unknown = [name for name in draft.given if name not in TRAC_OPTIONS and name not in WITHOUT_EFFECT]
    unknown = [name for name in unknown if not name.startswith("default_format.")]
    if unknown:
        lines += comment(f"Not known, and left out: {', '.join(unknown)}.")
    return ["", *lines] if lines else []


def _users(draft: Draft) -> list[str]:
    text = (
        "Trac knows the addresses of its users, the relay does not. It needs them for bare logins and for"
        " always_notify_*; `trac-admin ENV session list` shows them."
    )
    if any(draft.values.get(name) == "true" for name in NOTIFY):
        text += " Without them only people whose address the mail shows are added."
    return ["", *comment(text), "#[users]", "#dana = Dana Field <dana@example.com>"]


def _back(draft: Draft, *, catch_all: bool) -> list[str]:
    """The lines for trac.ini, as comments."""
    lines = [
        "[notification]",
        f"smtp_enabled = {draft.values['smtp_enabled']}",
        *(["email_sender = SmtpEmailSender"] if draft.word("email_sender") not in ("", "SmtpEmailSender") else []),
        *("smtp_server = localhost", f"smtp_port = {hop.PORT}", "use_tls = false", "smtp_user =", "smtp_password ="),
        f"smtp_always_cc = {CATCH_ALL if catch_all else ''}".rstrip(),
        "smtp_always_bcc =",
    ]
    if catch_all:
        trick = (
            f"{CATCH_ALL} makes Trac send each notification, also when nobody has subscribed (1.2 and later) or is"
            " concerned; [listener] catch_all above takes it off again, and nobody ever sees it."
        )
    else:
        trick = (
            "Trac 1.2 and later send nothing where nobody has subscribed. Should the relay add people (smtp_always_cc,"
            f" always_notify_*), let Trac always send: smtp_always_cc = {CATCH_ALL} there,"
            f" and catch_all = {CATCH_ALL} in [listener] here."
        )
    return [
        "",
        *comment(
            "Put this into trac.ini, in place of the options of the same names; all others stay there as they are:"
        ),
        "#",
        *(f"#   {line}" for line in lines),
        "#",
        *comment(trick),
    ]
