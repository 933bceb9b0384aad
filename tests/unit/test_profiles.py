"""Profiles: what a match says, which profile a mail gets, and what a profile inherits."""

import pytest

from relay import app, config, prepare
from relay.address import parse
from relay.entry import Client, Entry
from relay.mail import Envelope, Recipient
from relay.message import BytesBody, parse_bytes
from relay.profiles import Match, matches
from relay.systemd import Systemd

HEAD = "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n"


@pytest.fixture
def setting(tmp_path):
    def read(text, environ=None):
        path = tmp_path / "config.ini"
        path.write_text(text)
        path.chmod(0o600)
        loaded = config.read(path, environ or {})
        assert loaded.faults == [], loaded.fault_lines()
        return app.setting_of(loaded.configuration)

    return read


def chosen(setting, header="", sender="trac@t.example.com", report=False, profile="notification", **client):
    entry = Entry(
        "1",
        0.0,
        Envelope(parse(sender) if sender else None, (Recipient.accepted(parse("bob@example.org")),)),
        client=Client("127.0.0.1", **client),
        report=report,
        profile=profile,
    )
    return prepare.read(entry, BytesBody(header.encode() + b"\r\nhello\r\n"), setting).chosen


def test_several_matches_one_a_line_or_by_commas():
    assert list(
        map(str, matches("project: Acme, Inc., FROM: Dock <d@Example.com>\n  user: kim,\n header: X-A=b=c"))
    ) == [
        "project: Acme, Inc.",
        "from: d@Example.com",
        "user: kim",
        "header: X-A=b=c",
    ]
    assert matches("") == ()
    assert matches("header: X-A=b")[0].key == matches("header: x-a = B")[0].key
    assert matches("project: Häfen\n")[0].key == matches("project:  HA\u0308FEN")[0].key


@pytest.mark.parametrize(
    "bad", ["Harbour", "project:", "header: X", "header: X=", "header: X Y=z", "from: a b", "to: a@b"]
)
def test_a_match_that_is_none(bad):
    with pytest.raises(ValueError):
        matches(bad)


CASES = [
    ("project: harbour", {"header": "X-Trac-Project: HARBOUR\r\n"}, True),
    ("project: harbour", {"header": "X-Trac-Project: Harbour 2\r\n"}, False),
    ("project: häfen", {"header": "X-Trac-Project: =?utf-8?q?H=C3=A4FEN?=\r\n"}, True),
    ("project: harbour", {"header": "X-Project: Harbour\r\n"}, False),
    ("project: crane", {"header": "X-Redmine-Host: r\r\nX-Redmine-Project: crane\r\n"}, True),
    ("from: trac@T.example.com", {"sender": "Trac@t.EXAMPLE.com"}, True),
    ("from: dock@example.com", {"header": "From: =?utf-8?q?D=C3=B6ck?= <Dock@example.com>\r\n"}, True),
    ("from: dock@example.com", {"header": "From: dock@example.com.evil\r\nX: dock@example.com\r\n"}, False),
    ("from: example.com", {"header": "From: dock@example.com\r\n"}, False),
    ("from: dock@bücher.example", {"header": "From: dock@xn--bcher-kva.example\r\n"}, True),
    ("from: demo", {"sender": "Demo"}, True),
    ("from: demo", {"sender": "", "header": "From: Demo\r\n"}, True),
    ("listener: 127.0.0.1:2525", {"listener": "127.0.0.1:2525"}, True),
    ("listener: 127.0.0.1:2525", {"listener": "127.0.0.1:25250"}, False),
    ("listener: 127.0.0.1:2525", {}, False),
    ("user: Kim", {"user": "kim"}, True),
    ("user: kim", {"user": "kimberly"}, False),
    ("user: root", {"uid": 0}, True),
    ("user: 4711", {"uid": 4711}, True),
    ("user: nosuchuser", {"uid": None}, False),
    ("user: root", {"uid": 1}, False),
    ("header: X-Team=Crew", {"header": "X-Other: crew\r\nx-team:  CREW \r\n"}, True),
    ("header: X-Team=Crew", {"header": "X-Team: night\r\nX-Team: crew\r\n"}, True),
    ("header: X-Team=Crew", {"header": "X-Team: crew 2\r\n"}, False),
    ("header: X-Team=Crew", {"header": "X-Team-2: crew\r\n"}, False),
    ("header: X-Team=öl", {"header": "X-Team: =?utf-8?b?w7ZM?=\r\n"}, True),
]


@pytest.mark.parametrize(("match", "mail", "fits"), CASES, ids=lambda v: str(v)[:60])
def test_each_form_of_match(setting, match, mail, fits):
    found = chosen(setting(f"{HEAD}[notification:p]\nmatch = {match}\n"), **mail)
    assert found.profile.name == ("p" if fits else "notification")
    assert found.why == (str(matches(match)[0]) if fits else "no other profile matches")


def test_the_first_match_in_the_file_wins_and_the_plain_section_comes_last(setting):
    made = setting(
        "[notification:b]\nmatch = user: kim\n\tproject: Harbour\n"
        + HEAD
        + "[notification:a]\nmatch = project: harbour, user: luc\n".replace("project: harbour", "from: h@example.com")
    )
    both = {"header": "X-Trac-Project: Harbour\r\nFrom: h@example.com\r\n"}
    assert str(chosen(made, **both)) == "b (project: Harbour)"
    assert str(chosen(made, user="luc")) == "a (user: luc)"
    assert str(chosen(made)) == "notification (no other profile matches)"
    assert str(chosen(setting(HEAD))) == "notification"


def test_a_report_goes_the_way_of_its_mail(setting):
    made = setting(HEAD + "[notification:b]\nmatch = project: Harbour\n")
    assert chosen(made, report=True, profile="b").profile.name == "b"
    assert chosen(made, report=True, profile="gone").profile.name == "notification"
    assert chosen(made, "X-Trac-Project: Harbour\r\n", report=True).profile.name == "notification"


def test_a_new_entry_stands_in_the_line_of_its_profile_at_once(tmp_path, monkeypatch, caplog):
    """By its header alone; where that can not be read, in the line of the default profile."""
    path = tmp_path / "config.ini"
    path.write_text(HEAD + "[notification:b]\nmatch = project: Harbour\n")
    relay = app.Relay(config.read(path, {}).configuration, Systemd({}))
    entry = Entry("1", 0.0, Envelope(None, ()))
    message = parse_bytes(b"X-Trac-Project: Harbour\r\n\r\n")
    assert relay._assigned(entry, message).profile == "b"
    assert relay._assigned(entry, parse_bytes(b"\r\n")).profile == "notification"

    def broken(*_):
        raise RuntimeError("planted")

    monkeypatch.setattr(app, "hint", broken)
    assert relay._assigned(entry, message) == entry
    assert "fault in profile of 1: RuntimeError: planted" in caplog.text


def test_mail_by_sendmail_leaves_as_it_came_unless_a_tracker_wrote_it_or_a_profile_wants_it(setting):
    plain = setting(HEAD + "[notification:b]\nmatch = from: cron@example.com\n")
    for header, rewrite in (
        ("", "off"),
        ("From: cron@example.com\r\n", "off"),
        ("X-Trac-Project: Harbour\r\n", "full"),
    ):
        found = chosen(plain, header, listener="sendmail")
        assert found.profile.policy.rewrite == rewrite
        assert ("came by sendmail" in found.why) == (rewrite == "off")
        assert chosen(plain, header, listener="127.0.0.1:2525").profile.policy.rewrite == "full"
    wanted = setting(HEAD + "[notification:b]\nmatch = listener: sendmail\n")
    assert chosen(wanted, listener="sendmail").profile.policy.rewrite == "full"
    assert chosen(wanted, listener="sendmail").why == "listener: sendmail"
    both = setting(HEAD + "[notification:b]\nmatch = user: root\n\tlistener: Sendmail\n")
    assert chosen(both, listener="sendmail", uid=0).profile.policy.rewrite == "full"


def hops(setting, name):
    return next(profile.upstreams for profile in setting.profiles if profile.name == name)


BASE = HEAD + (
    "smtp_server = mail.example.com\nsmtp_port = 587\nuse_tls = true\nsmtp_user = me\nsmtp_password = base\n"
    "smtp_always_cc = list@example.org\nuse_public_cc = true\n"
)


def test_a_profile_inherits_policy_and_next_hop(setting):
    made = setting(BASE + "[notification:p]\nmatch = user: kim\nsmtp_always_cc =\n")
    default, p = made.profiles
    assert p.policy.smtp_from == default.policy.smtp_from
    assert p.policy.use_public_cc
    assert p.policy.smtp_always_cc == ()
    [ours], [theirs] = hops(made, "p"), hops(made, "notification")
    assert (ours.server, ours.port, ours.tls, ours.user, ours.password.reveal()) == (
        "mail.example.com",
        587,
        "starttls",
        "me",
        "base",
    )
    assert (ours.name, theirs.name) == ("notification:p", "notification")
    assert ours != theirs, "promise 7: a connection of its own, even to the same server"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("smtp_server = b.example.com", ("b.example.com", 587, "starttls", "", "")),
        ("smtp_server = mail.example.com", ("mail.example.com", 587, "starttls", "me", "base")),
        ("smtp_server = b.example.com\nsmtp_user = you\nsmtp_password = own", ("b.example.com", 587, "starttls", "you", "own")),
        ("smtp_user = you\nsmtp_password = own", ("mail.example.com", 587, "starttls", "you", "own")),
        ("smtp_password = new", ("mail.example.com", 587, "starttls", "me", "new")),
        ("smtp_user =", ("mail.example.com", 587, "starttls", "", "")),
        ("smtp_port = 465", ("mail.example.com", 465, "implicit", "me", "base")),
        ("tls = implicit", ("mail.example.com", 587, "implicit", "me", "base")),
        ("smtp_server = 127.0.0.1\nuse_tls = false", ("127.0.0.1", 587, "none", "", "")),
        ("smtp_server =", ("", 25, "opportunistic", "", "")),
        ("upstream = spare", ("spare.example.com", 2500, "opportunistic", "", "")),
    ],
)  # fmt: skip
def test_promise_7_what_a_profile_says_itself_replaces_what_it_would_inherit(setting, own, expected):
    text = (
        f"{BASE}[notification:p]\nmatch = user: kim\n{own}\n[upstream:spare]\nserver = spare.example.com\nport = 2500\n"
    )
    [hop] = hops(setting(text), "p")
    assert (hop.server, hop.port, hop.tls, hop.user, hop.password.reveal()) == expected


def test_upstreams_by_name_in_order_and_a_server_replaces_them(setting, tmp_path):
    made = setting(
        HEAD
        + "upstream = b, a outbox\n[notification:p]\nmatch = user: kim\nsmtp_server = own.example.com\n"
        + "[notification:q]\nmatch = user: luc\n[upstream:a]\nserver = unix:a.sock\n"
        + "[upstream:b]\nserver = b.example.com\nport = 465\nuser = me\npassword = x\nauth = plain\n"
    )
    assert [(h.name, h.server, h.tls) for h in hops(made, "notification")] == [
        ("b", "b.example.com", "implicit"),
        ("a", f"unix:{tmp_path}/a.sock", "opportunistic"),
        ("outbox", "", "opportunistic"),
    ]
    assert hops(made, "notification")[2].path == f"{tmp_path}/var/outbox"
    assert [h.server for h in hops(made, "p")] == ["own.example.com"]
    assert hops(made, "q") == hops(made, "notification")


def test_each_section_has_its_own_credential_of_the_service(setting, tmp_path):
    """The password of [notification] is no other section's."""
    held = tmp_path / "credentials"
    held.mkdir()
    for name, text in (("smtp_password", "base"), ("notification.p.smtp_password", "p"), ("upstream.b.password", "b")):
        (held / name).write_text(text)
    made = setting(
        HEAD
        + "smtp_server = mail.example.com\nuse_tls = true\nsmtp_user = me\n"
        + "[notification:p]\nmatch = user: kim\nsmtp_server = p.example.com\nsmtp_user = me\n"
        + "[notification:q]\nmatch = user: luc\nupstream = b, c\n"
        + "[upstream:b]\nserver = b.example.com\nuse_tls = true\nuser = me\n[upstream:c]\nserver = c.example.com\n",
        {"CREDENTIALS_DIRECTORY": str(held)},
    )
    found = {hop.name: hop.password.reveal() for profile in made.profiles for hop in profile.upstreams}
    assert found == {"notification": "base", "notification:p": "p", "b": "b", "c": ""}


def test_a_match_of_a_socket_is_relative_to_the_file_too(setting, tmp_path):
    made = setting("[listener]\nlisten = unix:run/s\n" + HEAD + "[notification:p]\nmatch = listener: unix:run/s\n")
    assert made.profiles[1].matches == (Match("listener", f"unix:{tmp_path}/run/s"),)
    assert chosen(made, listener=f"unix:{tmp_path}/run/s").profile.name == "p"
