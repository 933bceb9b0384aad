"""An oracle: whom the rules of [notification] send a mail to, and what its header says then.

A second implementation, which reads mail with Python's own email package and uses nothing of relay/. Who is behind a
mail it knows from `facts`, which are written by hand.
"""

import email
import hashlib
import re
from email import policy as email_policy
from email.header import decode_header, make_header

WRITTEN = ("from", "sender", "reply-to", "to", "cc", "subject")
"""Fields that rules may write anew."""
HIDING = ("bcc", "resent-bcc", "apparently-to", "delivered-to", "x-original-to", "x-envelope-to")
LISTING = ("to", "cc", "resent-to", "resent-cc", "resent-from", "resent-sender", *HIDING)
ADDABLE = ("received", "x-tracker-relay", "date", "message-id", "precedence", "auto-submitted", "mime-version", "content-type", "content-transfer-encoding")  # fmt: skip
IDS = ("message-id", "in-reply-to", "references")
TAKE_REPLIES = ("roundup", "rt", "redmine", "gitlab", "helpdesk")
NOBODY = "undisclosed-recipients: ;"


def read(octets):
    return email.message_from_bytes(octets, policy=email_policy.default)


def fields_of(octets):
    """Every field as (name in lower case, raw octets)."""
    head = octets.partition(b"\r\n\r\n")[0] + b"\r\n"
    found = re.findall(rb"[^\r\n]+\r\n(?:[ \t][^\r\n]*\r\n)*", head)
    return [(raw.partition(b":")[0].strip().lower().decode("ascii"), raw) for raw in found]


def key(text):
    local, at, domain = text.rpartition("@")
    return (local, domain.lower()) if at else (text, "")


def boxes(message, *names):
    """(display, address) of every mailbox in these fields."""
    return [(a.display_name, a.addr_spec) for name in names for f in message.get_all(name, []) for a in f.addresses]


def raw_of(octets, *names):
    """Every field of these names, as octets."""
    return [raw for name, raw in fields_of(octets) if name in names]


def author(octets):
    """(display name, address) of From: email.header knows that blanks between encoded words are none."""
    text = re.sub(r"\r\n(?=[ \t])", "", raw_of(octets, "from")[0].decode("ascii").partition(":")[2]).strip()
    name, angle, address = text.rpartition("<")
    display = str(make_header(decode_header(re.sub(r'^"((?:[^"\\]|\\.)*)" *$', r"\1", name.strip()))))
    return (
        re.sub(r"\\(.)", r"\1", display) if name.startswith('"') else display,
        address.rstrip(">") if angle else text,
    )


def squeeze(text):
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()


class World:
    """One configuration: options as config.ini has them, users, the gateway's own addresses."""

    def __init__(self, options, users, catch_all=("in@gw.example.com",)):
        self.options = {"smtp_from": "bot@example.com", "mime_encoding": "base64", **options}
        self.users = {login: re.fullmatch(r"(.*?) ?<(.*)>", line).groups() for login, line in users.items()}
        self.own = {key(a) for a in catch_all}

    def on(self, name):
        return self.options.get(name) == "true"

    def ignored(self, address):
        return key(address)[1] in self.options.get("ignore_domains", "").lower().split()

    def full(self, address):
        """A written address as it is mailed; None where it is none."""
        named = "@" not in address or self.ignored(address)
        stored = {login if "@" not in login else key(login): a for login, (_, a) in self.users.items()}
        if named and (known := stored.get(key(address) if "@" in address else address)):
            address = known
        if self.ignored(address):
            return None
        if "@" in address or self.on("use_short_addr"):
            return address
        domain = self.options.get("smtp_default_domain")
        return f"{address}@{domain}" if domain else None

    def listed(self, name):
        return [full for a in re.split(r"[,;\s]+", self.options.get(name, "")) if a and (full := self.full(a))]

    def who(self, shown):
        """(login, address) of a person as a mail shows him; either may be None."""
        if not shown:
            return None, None
        if shown in self.users:
            return shown, self.users[shown][1]
        cut = re.fullmatch(r"([^\s@]+)@?(?:…|\.\.\.)", shown)
        for fits in (
            lambda login, name, address: name == shown,
            lambda login, name, address: address == shown,
            lambda login, name, address: cut and cut[1] in (login.partition("@")[0], address.rpartition("@")[0]),
        ):
            found = [(login, address) for login, (name, address) in self.users.items() if fits(login, name, address)]
            if found:
                return found[0] if len(found) == 1 else (None, None)
        whole = shown.isascii() and re.fullmatch(r"[^\s@<>(),;:\"]+@[^\s@<>(),;:\"]+", shown)
        return (None, shown) if whole else (shown, None)

    def reporter(self, message, facts):
        """By Trac's Message-ID, else by what the mail shows."""
        root = re.search(r"<(\d{3})\.([0-9a-f]{32})@", message.get("in-reply-to") or message.get("message-id") or "")
        if root and facts.get("tracker") == "trac" and facts.get("ticket"):
            for login in self.users:
                text = f"{message['x-url']}.{int(facts['ticket']):08}.0.{login}".encode("ascii", "ignore")
                if len(text) == int(root[1]) and hashlib.md5(text).hexdigest() == root[2]:
                    return login, self.users[login][1]
        return self.who(facts.get("reporter"))


def expected(world, octets, sender, rcpts, facts):
    """Envelope and header as they are to leave."""
    message = read(octets)
    o = world.options
    got = {}  # key -> [address, as given, visible]
    shown = {key(world.full(a) or a) for _, a in boxes(message, "to", "cc")}
    for given in rcpts:
        full = world.full(given)
        if full and key(full) not in world.own:
            got.setdefault(key(full), (full, given, o.get("public_envelope") == "yes" or key(full) in shown))
    reporter, owner, updater = people = (
        world.reporter(message, facts),
        world.who(facts.get("owner")),
        world.who(facts.get("updater")),
    )
    if facts.get("updater") and facts.get("updater") == facts.get("reporter"):
        people = (reporter, owner, updater := reporter)
    previous = world.who(facts.get("previous_owner"))
    full_rules = o.get("rewrite") != "off"

    def same(one, other):
        return (one[1] and one[1] == other[1]) or (one[0] and one[0] == other[0])

    def add(who):
        if who[1] and (full := world.full(who[1])) and key(full) not in world.own:
            got.setdefault(key(full), (full, None, world.on("use_public_cc")))

    wish = o.get("always_notify_updater")
    if full_rules and facts.get("tracker"):
        if world.on("always_notify_reporter"):
            add(reporter)
        if world.on("always_notify_owner"):
            add(owner)
            add(previous)
        if wish == "true" or (wish is None and facts.get("old")):
            add(updater)
        spared = (world.on("always_notify_reporter") and same(updater, reporter)) or (
            world.on("always_notify_owner") and same(updater, owner)
        )
        if wish == "false" and not spared:
            got = {k: r for k, r in got.items() if not _is(world, r, updater)}
    cc, bcc = world.listed("smtp_always_cc"), world.listed("smtp_always_bcc")
    if full_rules:
        for address in (*cc, *bcc):
            got.setdefault(key(address), (address, None, False))
    visible_cc = {key(a) for a in cc if key(a) not in world.own}
    visible_to = set()
    if world.on("use_public_cc"):
        secret = {key(a) for a in bcc} - {key(a) for a in cc}
        for k, r in got.items():
            if k in secret:
                continue
            if facts.get("tracker") and any(_is(world, r, who) for who in people):
                visible_to.add(k)
            elif r[2]:
                visible_cc.add(k)
        visible_cc -= visible_to
    return {
        "rcpt": {k for k in got if k not in world.own},
        "to": visible_to,
        "cc": visible_cc,
        **_originator(world, message, sender, facts, {k for k in got if k not in visible_to | visible_cc}),
        "subject": _subject(world, octets, message, facts),
    }


def _is(world, recipient, who):
    login, address = who
    return bool((login and recipient[1] == login) or (address and key(world.full(address) or "") == key(recipient[0])))


def _originator(world, message, sender, facts, hidden):
    o = world.options
    chosen = world.full(o["smtp_from"] or o.get("smtp_replyto", ""))
    froms = message.get_all("from", [])
    authors = [a for _, a in boxes(message, "from")] if len(froms) == 1 else []
    valid = bool(authors) and all(re.fullmatch(r".+@\S+", a) for a in authors)
    kept = o.get("from") == "keep" and valid
    display = squeeze(o.get("smtp_from_name") or facts.get("project") or o.get("project_name", ""))
    path = chosen
    if sender is None:
        content = message.get_content_type()
        report = content == "multipart/report" or message.get("auto-submitted", "").startswith("auto-replied")
        path = chosen if facts.get("tracker") and not report else None
    elif kept and len(authors) == 1:
        path = authors[0]
    elif kept and "@" in sender:
        path = sender
    replies = [a for _, a in boxes(message, "reply-to") if re.fullmatch(r".+@\S+", a)]
    if o.get("smtp_replyto"):
        replies = [world.full(o["smtp_replyto"])]
    elif not replies and not kept and len(authors) == 1 and valid and facts.get("tracker") in TAKE_REPLIES:
        old = authors[0]
        replies = [old] if key(old) not in hidden and key(old) != key(chosen) else []
    return {"mail_from": path, "from": None if kept else (display, chosen), "reply": [key(a) for a in replies]}


def _text(octets, message):
    """The Subject as text: encoded words decoded; octets outside ASCII in UTF-8, else in Latin-1."""
    raw = raw_of(octets, "subject")[0]
    if raw.isascii():
        return str(message["subject"])
    value = raw.partition(b":")[2]
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _subject(world, octets, message, facts):
    """As text with single blanks; None where it stays octet for octet."""
    if "subject" not in message:
        return None
    prefix = world.options.get("smtp_subject_prefix", "__default__")
    project = facts.get("project") or world.options.get("project_name", "")
    if prefix == "__default__":
        prefix = f"[{squeeze(project)}]" if project else ""
    old = squeeze(_text(octets, message))
    if not prefix:
        return None
    marks = re.match(r"(?:re:\s*)*", old, re.IGNORECASE)[0]
    rest = old[len(marks) :]
    if rest.startswith(prefix):
        return None
    theirs = f"[{facts.get('project')}]"
    if facts.get("project") and rest.startswith(theirs):
        rest = rest[len(theirs) :]
    return squeeze(f"{marks} {prefix} {rest}")
