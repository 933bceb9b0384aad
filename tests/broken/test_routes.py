"""Broken routes, each with every line that `check` says about it; what it only warns of; what it accepts."""

import pytest

from relay import config
from relay.loaded import routes_of, upstreams_of
from relay.routes import conditions

HEAD = "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\nsmtp_server = mail.example.com\n"
HOP = "[upstream:partner]\nserver = smtp.partner.example\n"
ROUTE = "[route:partner]\nmatch = recipient: partner.example\n"
FORMS = "sender: or recipient: and an address, a domain, or .DOMAIN for all below it; or sender: <>"

BROKEN = {
    "a misspelt next hop is never direct delivery": (
        HEAD + ROUTE + "upstream = partnr\n" + HOP,
        ["7: [route:partner] upstream: there is no [upstream:partnr]: did you mean partner?"],
    ),
    "a next hop that is nowhere": (
        HEAD + ROUTE + "upstream = mx, gmail\n",
        ["7: [route:partner] upstream: there is no [upstream:gmail]: write that section, with its server"],
    ),
    "no next hop": (
        HEAD + ROUTE,
        ["5: [route:partner] upstream: there is none: name the next hop of this mail: an [upstream:NAME], mx or outbox"],
    ),
    "an empty next hop": (
        HEAD + ROUTE + "upstream =\n",
        ["7: [route:partner] upstream: there is none: name the next hop of this mail: an [upstream:NAME], mx or outbox"],
    ),
    "nobody's route": (
        HEAD + "[route:partner]\nupstream = mx\n",
        ["5: [route:partner] match: it is missing, so no mail ever comes here: say whose mail goes here, as in match = recipient: example.com"],
    ),
    "an empty match": (
        HEAD + "[route:partner]\nupstream = mx\nmatch =\n",
        ["7: [route:partner] match: it is empty, so no mail ever comes here: say whose mail goes here, as in match = recipient: example.com"],
    ),
    "a kind of match that profiles have": (
        HEAD + "[route:partner]\nupstream = mx\nmatch = project: Harbour\n",
        [f"7: [route:partner] match: 'project: Harbour' begins with no kind of match: write {FORMS}"],
    ),
    "a pattern": (
        HEAD + "[route:partner]\nupstream = mx\nmatch = recipient: *@partner.example\n" + HOP + "[route:x]\nmatch = recipient: *.x\nupstream = partner\n",
        ["11: [route:x] match: '*.x' is neither an address nor a domain: bad domain"],
    ),
    "a profile that is not there": (
        HEAD + "[route:partner]\nupstream = mx\nprofile = harbor\n[notification:harbour]\nmatch = project: Harbour\n",
        ["7: [route:partner] profile: there is no [notification:harbor]: did you mean harbour?"],
    ),
    "what an earlier route takes": (
        HEAD + ROUTE + "upstream = mx\n[route:late]\nmatch = sender: a@example.com, recipient: Partner.Example\nupstream = mx\nprofile = notification\n",
        ["9: [route:late] match: [route:partner] takes recipient: partner.example already (line 6), and the first wins: remove one"],
    ),
    "what an earlier route takes whole": (
        HEAD + "[route:all]\nprofile = notification\nupstream = mx\n" + ROUTE + "profile = notification\nupstream = outbox\n",
        ["9: [route:partner] match: [route:all] takes all mail of its profiles already (line 6), and the first wins: remove one"],
    ),
    "a route without a name": (
        HEAD + "[route]\nmatch = recipient: a.example\n",
        ["5: [route]: it has no name: write [route:NAME]"],
    ),
    "a log-in in a route": (
        HEAD + ROUTE + "upstream = mx\nuser = me\n",
        ["8: [route:partner] user: no such option here: it belongs into [upstream:NAME]"],
    ),
    "a next hop twice": (
        HEAD + ROUTE + "upstream = partner, partner\n" + HOP,
        ["7: [route:partner] upstream: partner stands in it twice: remove one"],
    ),
    "a weight that is none": (
        HEAD + ROUTE + "upstream = partner, mx\n" + HOP + "weight = 0\n",
        ["10: [upstream:partner] weight: '0' is not a whole number from 1 to 65535"],
    ),
    "a weight in [notification]": (
        HEAD + "weight = 3\n",
        ["5: [notification] weight: no such option here: it belongs into [upstream:NAME]"],
    ),
    "bare names by direct delivery": (
        "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\nupstream = mx\nuse_short_addr = true\n",
        ["5: [notification] use_short_addr: mx can deliver no bare name: remove it, or name the mail server that knows them"],
    ),
    "a port beside SRV": (
        HEAD.replace("mail.example.com", "srv:example.com") + "smtp_port = 587\n",
        ["5: [notification] smtp_port: DNS says the port of srv:example.com: remove it"],
    ),
    "SRV without TLS": (
        HEAD.replace("mail.example.com", "srv:example.com") + "tls = opportunistic\n[upstream:partner]\nserver = srv:b.example\nuse_tls = no\n",
        [
            "5: [notification] tls: srv: is always TLS: implicit (_submissions), starttls (_submission), or both where it is absent",
            "8: [upstream:partner] use_tls: srv: is always TLS: implicit (_submissions), starttls (_submission), or both where it is absent",
        ],
    ),
    "SRV of no domain": (
        HEAD.replace("mail.example.com", "srv:"),
        ["4: [notification] smtp_server: 'srv:' names no domain: write srv: and a domain"],
    ),
    "SRV of an address": (
        HEAD.replace("mail.example.com", "srv:192.0.2.1"),
        ["4: [notification] smtp_server: 'srv:192.0.2.1' names no domain: write srv: and a domain"],
    ),
    "targets of no SRV": (
        HEAD + "srv_targets = mail.example.com\n",
        ["5: [notification] srv_targets: smtp_server is no srv:DOMAIN, so no DNS names the server: remove it"],
    ),
    "targets that are none": (
        HEAD.replace("mail.example.com", "srv:example.com") + "srv_targets = *.example.net\n",
        ["5: [notification] srv_targets: '*.example.net' is no host name: bad domain"],
    ),
    "a password to SRV whose certificates prove nothing": (
        HEAD.replace("mail.example.com", "srv:example.com") + "smtp_user = me\nsmtp_password = x\ntls_verify = no\n",
        ["5: [notification] smtp_user: the password would cross an unprotected connection (tls_verify is false): set use_tls = true"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name, checked):
    text, lines = BROKEN[name]
    for command in ("check", "run"):
        found = checked(text, command)
        assert (found.status, found.faults) == (78, lines)


WARNED = {
    "a weight without a neighbour that has one": (
        HEAD + ROUTE + "upstream = partner, other\n" + HOP + "weight = 3\n[upstream:other]\nserver = smtp.other.example\n",
        ["10: [upstream:partner] weight: it shares nothing: no next hop that stands beside it in an `upstream =` has a weight"],
    ),
    "weights with one between them": (
        HEAD + ROUTE + "upstream = partner, mx, other\n" + HOP + "weight = 3\n[upstream:other]\nserver = smtp.other.example\nweight = 1\n",
        [
            "10: [upstream:partner] weight: it shares nothing: no next hop that stands beside it in an `upstream =` has a weight",
            "13: [upstream:other] weight: it shares nothing: no next hop that stands beside it in an `upstream =` has a weight",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNED)
def test_warned_of(name, checked):
    text, lines = WARNED[name]
    found = checked(text)
    assert (found.status, found.faults, found.warnings) == (0, [], [f"{line}" for line in lines])


def test_what_a_route_leads_to(tmp_path):
    path = tmp_path / "config.ini"
    path.write_text(
        HEAD
        + "[route:direct]\nmatch = recipient: a.example, .a.example\n  sender: <>\nupstream = mx, outbox\n"
        + "[route:shared]\nmatch = recipient: b.example\nprofile = notification\nupstream = one two\n"
        + "[upstream:one]\nserver = one.example\nweight = 3\n[upstream:two]\nserver = two.example\nweight = 1\n"
        + "[mx]\nport = 2500\nip = ipv4\n"
    )
    loaded = config.read(path, {})
    assert (loaded.fault_lines(), loaded.warning_lines()) == ([], [])
    direct, shared = routes_of(loaded.configuration)
    assert (direct.name, direct.conditions) == ("direct", conditions("recipient: a.example, .a.example, sender: <>"))
    mx, outbox = direct.upstreams
    assert (mx.is_mx, mx.port, mx.ip, mx.logs_in) == (True, 2500, "ipv4", False)
    assert outbox.path == str(tmp_path / "var/outbox")
    assert [(up.name, up.weight) for up in shared.upstreams] == [("one", 3), ("two", 1)]
    assert shared.profiles == ("notification",)
    assert [up.name for up in upstreams_of(loaded.configuration)] == ["notification", "mx", "outbox", "one", "two"]


def test_a_server_that_dns_names(tmp_path):
    path = tmp_path / "config.ini"
    path.write_text(
        HEAD.replace("mail.example.com", "srv:example.com")
        + "use_tls = true\nsmtp_user = me\nsmtp_password = x\nsrv_targets = smtp.example.net, .Mail.example.org\n"
        + ROUTE
        + "upstream = partner\n[upstream:partner]\nserver = srv:partner.example\ntls = implicit\n"
    )
    path.chmod(0o600)
    loaded = config.read(path, {})
    assert (loaded.fault_lines(), loaded.warning_lines()) == ([], [])
    own, partner = upstreams_of(loaded.configuration)
    assert (str(own), own.targets) == (
        "srv:example.com (implicit, starttls)",
        ("smtp.example.net", ".mail.example.org"),
    )
    assert (str(partner), partner.is_discovered, partner.port) == ("srv:partner.example (implicit)", True, 0)
