"""Broken profiles and next hops, each with every line that `check` says about it; and what it only warns of."""

import pytest

HEAD = "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n"
HOP = HEAD + "smtp_server = mail.example.com\n"
PROFILE = "[notification:harbour]\nmatch = project: Harbour\n"
GMAIL = "[upstream:gmail]\nserver = smtp.gmail.com\n"

FORMS = "write project: NAME, from: ADDRESS, listener: ADDRESS, user: LOGIN or header: NAME=VALUE"

BROKEN = {
    "a profile without match": (
        HEAD + "[notification:harbour]\nsmtp_always_cc = list@example.org\n",
        ["4: [notification:harbour] match: it is missing, so no mail ever comes here: say whose mail this profile serves, as in match = project: NAME"],
    ),
    "an empty match": (
        HEAD + "[notification:harbour]\nmatch =\n",
        ["5: [notification:harbour] match: it is empty, so no mail ever comes here: say whose mail this profile serves, as in match = project: NAME"],
    ),
    "two profiles with the same match": (
        HEAD + PROFILE + "[notification:other]\nmatch = user: kim\n\tproject:  HARBOUR\n",
        ["7: [notification:other] match: [notification:harbour] matches project: HARBOUR already (line 5), and the first wins: remove one"],
    ),
    "a match twice in one profile": (
        HEAD + PROFILE + " Project: harbour\n",
        ["5: [notification:harbour] match: one of its conditions stands in it twice: remove one"],
    ),
    "a profile that no mail can reach": (
        HEAD + "[notification:late]\nmatch = listener: 127.0.0.1:2526\n",
        ["5: [notification:late] match: this relay does not listen on 127.0.0.1:2526, so no mail ever comes here: name one of 127.0.0.1:2525, sendmail"],
    ),
    "a misspelt kind of match": (
        HEAD + "[notification:harbour]\nmatch = projct: Harbour\n",
        ["5: [notification:harbour] match: 'projct: Harbour' begins with no kind of match: did you mean project?"],
    ),
    "a match without a kind": (
        HEAD + "[notification:harbour]\nmatch = Harbour\n",
        [f"5: [notification:harbour] match: 'Harbour' begins with no kind of match: {FORMS}"],
    ),
    "a match that says nothing": (
        HEAD + "[notification:harbour]\nmatch = project:\n",
        [f"5: [notification:harbour] match: project: says nothing: {FORMS}"],
    ),
    "a match of a field without a value": (
        HEAD + "[notification:harbour]\nmatch = header: X-Team: crew\n",
        ["5: [notification:harbour] match: 'header: X-Team: crew' is no match of a field: write header: NAME=VALUE"],
    ),
    "a match of a sender that is no address": (
        HEAD + "[notification:harbour]\nmatch = from: Harbour Team\n",
        ["5: [notification:harbour] match: 'Harbour Team' is not an address: bad local part"],
    ),
    "match in [notification]": (
        HEAD + "match = project: Harbour\n",
        ["4: [notification] match: no such option here: it belongs into [notification:NAME]"],
    ),
    "a profile named as the plain section": (
        HEAD + "[notification:notification]\nmatch = project: x\n",
        ["4: [notification:notification]: that is the name of the plain [notification] section: give the profile another one"],
    ),
    "a profile without a name": (
        HEAD + "[notification: ]\n",
        ["4: [notification:]: it has no name: write [notification:NAME]"],
    ),
    "a misspelt prefix": (
        HEAD + "[notifcation:harbour]\n",
        ["4: [notifcation:harbour]: no such section: did you mean notification:NAME?"],
    ),
    "a misspelt option in a profile": (
        HEAD + PROFILE + "smtp_alwayscc = a@example.org\n",
        ["6: [notification:harbour] smtp_alwayscc: no such option: did you mean smtp_always_cc?"],
    ),
    "a value of a profile that is none": (
        HEAD + PROFILE + "mime_encoding = utf8\nrewrite = half\nfrom = never\n",
        [
            "6: [notification:harbour] mime_encoding: 'utf8' is none of base64, qp, none, auto, keep, none-strict",
            "7: [notification:harbour] rewrite: 'half' is none of full, off",
            "8: [notification:harbour] from: 'never' is none of force, keep",
        ],
    ),
    "an unknown upstream with a near name": (
        HEAD + "upstream = gmial\n" + GMAIL,
        ["4: [notification] upstream: there is no [upstream:gmial]: did you mean gmail?"],
    ),
    "an unknown upstream that differs by case": (
        HEAD + "upstream = GMAIL, outbx\n" + GMAIL,
        [
            "4: [notification] upstream: there is no [upstream:GMAIL]: did you mean gmail?",
            "4: [notification] upstream: there is no [upstream:outbx]: did you mean outbox?",
        ],
    ),
    "an unknown upstream": (
        HEAD + PROFILE + "upstream = smarthost\n",
        ["6: [notification:harbour] upstream: there is no [upstream:smarthost]: write that section, with its server"],
    ),
    "direct delivery, misspelt": (
        HEAD + "upstream = mxx\n",
        ["4: [notification] upstream: there is no [upstream:mxx]: did you mean mx?"],
    ),
    "direct delivery on no port": (
        HEAD + "upstream = mx\n[mx]\nport = 0\nip = 6\n",
        [
            "6: [mx] port: '0' is not a whole number from 1 to 65535",
            "7: [mx] ip: '6' is none of any, ipv4, ipv6",
        ],
    ),
    "upstream and smtp_server": (
        HOP + "upstream = gmail\n" + GMAIL,
        ["5: [notification] upstream: upstream and smtp_server both say where mail goes: remove one of them"],
    ),
    "upstream and smtp_server in a profile": (
        HEAD + PROFILE + "smtp_server = mail.example.com\nupstream = gmail\n" + GMAIL,
        ["7: [notification:harbour] upstream: upstream and smtp_server both say where mail goes: remove one of them"],
    ),
    "a log-in beside upstream": (
        HEAD + "upstream = gmail\nsmtp_user = me\nsmtp_password = x\n" + GMAIL,
        [
            "5: [notification] smtp_user: upstream says where mail goes: move it into [upstream:gmail]",
            "6: [notification] smtp_password: upstream says where mail goes: move it into [upstream:gmail]",
        ],
    ),
    "an upstream twice in a list": (
        HEAD + "upstream = gmail, gmail\n" + GMAIL,
        ["4: [notification] upstream: gmail stands in it twice: remove one"],
    ),
    "reserved names": (
        HEAD + "[upstream:mx]\nserver = a.example.com\n[upstream:outbox]\nserver = b.example.com\n[upstream:notification]\nserver = c.example.com\n",
        [
            "4: [upstream:mx]: mx is a reserved name: give this next hop another one",
            "6: [upstream:outbox]: outbox is a reserved name: give this next hop another one",
            "8: [upstream:notification]: notification is a reserved name: give this next hop another one",
        ],
    ),
    "a next hop's name of two words": (
        HEAD + "[upstream:my hop]\nserver = a.example.com\n",
        ["4: [upstream:my hop]: a next hop's name is one word of up to 64 characters, without comma and slash"],
    ),
    "a next hop without a server": (
        HEAD + "upstream = gmail\n[upstream:gmail]\nport = 587\n",
        ["5: [upstream:gmail] server: there is none: name the mail server of this next hop"],
    ),
    "a next hop with the long names": (
        HEAD + "upstream = gmail\n" + GMAIL + "smtp_port = 587\n",
        ["7: [upstream:gmail] smtp_port: no such option: did you mean port?"],
    ),
    "a port of a next hop that is none": (
        HEAD + "upstream = gmail\n" + GMAIL + "port = 0\n",
        ["7: [upstream:gmail] port: '0' is not a whole number from 1 to 65535"],
    ),
    "a next hop's password over an unprotected connection": (
        HEAD + "upstream = gmail\n" + GMAIL + "user = me\npassword = x\ntls = none\n",
        ["7: [upstream:gmail] user: the password would cross an unprotected connection (tls is none): set use_tls = true"],
    ),
    "a next hop's user without a password": (
        HEAD + "upstream = gmail\n" + GMAIL + "user = me\ntls = starttls\n",
        ["7: [upstream:gmail] user: there is no password for it: set password_file or password"],
    ),
    "a next hop that is our own listener": (
        HEAD + "upstream = local\n[upstream:local]\nserver = localhost\nport = 2525\n",
        ["6: [upstream:local] server: that is this relay's own listener (127.0.0.1:2525): name the mail server that it shall send to"],
    ),
    "a profile whose server is our own listener": (
        HEAD + PROFILE + "smtp_server = 127.0.0.1\nsmtp_port = 2525\n",
        ["6: [notification:harbour] smtp_server: that is this relay's own listener (127.0.0.1:2525): name the mail server that it shall send to"],
    ),
    "an inherited log-in made unprotected": (
        HOP + "use_tls = true\nsmtp_user = me\nsmtp_password = x\n" + PROFILE + "use_tls = false\n",
        ["8: [notification:harbour] smtp_user: the password would cross an unprotected connection (tls is none): set use_tls = true"],
    ),
    "a user of a profile without a password": (
        HOP + "use_tls = true\nsmtp_user = me\nsmtp_password = x\n" + PROFILE + "smtp_user = other\n",
        ["10: [notification:harbour] smtp_user: there is no password for it: set smtp_password_file or smtp_password"],
    ),
    "what is inherited is said once": (
        "[notification]\nsmtp_enabled = true\nsmtp_from = bugs\n" + PROFILE,
        ["3: [notification] smtp_from: bugs has no domain: write it whole, or set smtp_default_domain"],
    ),
    "a profile's bare sender": (
        HEAD + PROFILE + "smtp_from = crane\n",
        ["6: [notification:harbour] smtp_from: crane has no domain: write it whole, or set smtp_default_domain"],
    ),
    "wishes of a user that are none": (
        HEAD + "[user:dana]\nmute = perhaps\nown_changes = mine\n",
        [
            "5: [user:dana] mute: 'perhaps' is neither true nor false",
            "6: [user:dana] own_changes: 'mine' is neither true nor false",
        ],
    ),
    "a user twice": (
        HEAD + "[user:dana]\naddress = dana@example.com\n[user: dana]\nname = Dana\n",
        ["6: [user:dana]: the section stands at line 4 too: join them"],
    ),
    "an address to listen on twice": (
        "[listener]\nlisten = 127.0.0.1:2525, 127.0.0.1:2525\n" + HEAD,
        ["2: [listener] listen: 127.0.0.1:2525: it stands there twice: remove one of them"],
    ),
    "addresses to listen on that overlap": (
        "[listener]\nallow = 10.0.0.0/8\nlisten = 0.0.0.0:2525, [::]:2525, localhost:2526, 127.0.0.1:2525, [::1]:2526\n" + HEAD,
        [
            "3: [listener] listen: 127.0.0.1:2525: 0.0.0.0:2525 takes that address already: remove one of them",
            "3: [listener] listen: [::1]:2526: localhost:2526 takes that address already: remove one of them",
        ],
    ),
    "a secret file of a profile that is not there": (
        HOP + PROFILE + "smtp_server = b.example.com\nsmtp_user = me\nsmtp_password_file = gone\nuse_tls = true\n",
        [
            "8: [notification:harbour] smtp_user: there is no password for it: set smtp_password_file or smtp_password",
            "9: [notification:harbour] smtp_password_file: {folder}/gone: No such file or directory: create it, with mode 600",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken(checked, tmp_path, name):
    text, expected = BROKEN[name]
    for command in ("check", "run"):
        found = checked(text, command)
        assert found.status == 78
        assert found.faults == [line.replace("{folder}", str(tmp_path)) for line in expected]


WARNED = {
    "a log-in that stays behind": (
        HOP + "use_tls = true\nsmtp_user = me\nsmtp_password = x\n" + PROFILE + "smtp_server = b.example.com\n",
        ["10: [notification:harbour] smtp_server: b.example.com is not the server of [notification], whose log-in stays with that one: set smtp_user here if this one wants one, too"],
    ),
    "an option beside upstream": (
        HEAD + "smtp_server =\nsmtp_port = 587\nupstream = gmail\n" + GMAIL,
        ["5: [notification] smtp_port: it has no effect beside upstream = gmail: move it into [upstream:gmail]"],
    ),
    "a next hop that nobody names": (
        HEAD + GMAIL,
        ["4: [upstream:gmail]: no `upstream =` names it, so no mail goes there"],
    ),
    "a listener whose mail is all taken": (
        HEAD + "[notification:all]\nmatch = listener: 127.0.0.1:2525\n" + PROFILE + "[notification:cron]\nmatch = listener: sendmail\n",
        ["7: [notification:harbour] match: [notification:all] above takes every mail of this listener, so none that comes by SMTP gets here"],
    ),
    "a profile that drops everything": (
        HEAD + PROFILE + "smtp_enabled = false\n[notification:crew]\nmatch = project: Crew\n",
        ["6: [notification:harbour] smtp_enabled: it is false: EVERY notification of this profile is accepted and dropped; set smtp_enabled = true"],
    ),
    "only profiles send": (
        "[notification]\nsmtp_from = bugs@example.com\n" + PROFILE + "smtp_enabled = true\n",
        ["1: [notification] smtp_enabled: it is absent, which means false: EVERY notification that no other profile matches is accepted and dropped; set smtp_enabled = true"],
    ),
    "bare names to a public server": (
        HEAD + "use_short_addr = true\n" + PROFILE + "upstream = gmail\n" + GMAIL,
        ["5: [notification:harbour] use_short_addr: bare names go to smtp.gmail.com as they are; only a mail server of your own network knows them"],
    ),
    "nobody is left whom an option adds": (
        HEAD + "always_notify_updater = true\nown_changes = no\n" + PROFILE + "smtp_always_cc = a@example.org\n",
        ["5: [notification] own_changes: always_notify_updater = true adds only those whose [user:LOGIN] says own_changes = yes"],
    ),
    "an option of Trac without effect": (
        HEAD + PROFILE + "smtp_from_author = true\n",
        ["6: [notification:harbour] smtp_from_author: From is smtp_from; `from = keep` lets the tracker's From stay. It has no effect here"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNED)
def test_warned_of(checked, name):
    text, expected = WARNED[name]
    found = checked(text)
    assert (found.status, found.faults) == (0, [])
    assert found.warnings == expected
