"""own_changes and mute: who does not hear of himself, and who never hears; `rewrite = off`, `from = keep`, catch_all."""

import dataclasses

import pytest

from relay import address
from relay.people import User, Users

RULE = "-------------------------+------------------\r\n"
USERS = {
    "dana": "Dana Field <dana@example.com>",
    "luc": "Luc Bézier <luc@example.net>",
    "sato": '"佐藤 花子" <sato@example.jp>',
}
EVENTS = {
    "comment": "Comment (by {}):\r\n\r\n",
    "change": "Changes (by {}):\r\n\r\n * status:  new => closed\r\n\r\n",
    "description": "Description changed by {}:\r\n\r\n",
}
ALL = ["dana@example.com", "luc@example.net", "sato@example.jp"]


def body(event="", reporter="dana", owner="luc"):
    rows = f"  Reporter:  {reporter:<12}|      Owner:  {owner}\r\n      Type:  defect      |     Status:  new\r\n"
    return f"#12: Crane jams\r\n{RULE}{rows}{RULE}{event} The crane jams.\r\n"


@pytest.fixture
def relay(gateway):
    def make(own=None, mute=(), users=USERS, **options):
        made = gateway(users=users, **options)
        people = tuple(
            dataclasses.replace(user, own_changes=(own or {}).get(user.login), mute=user.login in mute)
            for user in made.setting.users
        )
        made.setting = dataclasses.replace(made.setting, users=Users(people))
        return made

    return make


@pytest.fixture
def changed(mail):
    def make(by="sato", event="comment", **more):
        return mail(body=body(EVENTS[event].format(by), **more), In_Reply_To="<x@t.example.com>")

    return make


@pytest.mark.parametrize("event", EVENTS)
def test_who_asked_for_it_does_not_hear_of_his_own_change(relay, changed, dropped, event):
    left = relay(own={"sato": False})(changed(event=event), ALL)
    assert sorted(left.rcpt) == ["dana@example.com", "luc@example.net"]
    assert dropped(left.prepared) == {"rcpt:sato@example.jp": "own_changes"}
    assert sorted(relay(own={"sato": False})(changed(by="luc"), ALL).rcpt) == sorted(ALL)


@pytest.mark.parametrize(
    "options",
    [
        {"always_notify_updater": "true"},
        {"always_notify_updater": "false"},
        {"always_notify_reporter": "true", "always_notify_owner": "true"},
    ],
)
def test_his_wish_beats_always_notify(relay, changed, options):
    raw = changed(reporter="sato", owner="sato")
    assert sorted(relay(own={"sato": False}, **options)(raw, ALL).rcpt) == ["dana@example.com", "luc@example.net"]
    assert "sato@example.jp" in relay(own={"sato": True}, **options)(raw, ALL).rcpt


def test_it_is_not_taken_from_a_list_that_the_administrator_wrote(relay, changed):
    left = relay(own={"sato": False}, smtp_always_cc="sato@example.jp")(changed(), ALL)
    assert sorted(left.rcpt) == sorted(ALL)


@pytest.mark.parametrize("version", ["0.12.7", "1.0.20", "1.6"])
def test_of_a_new_ticket_the_reporter_is_the_one(relay, mail, version):
    raw = mail(body=body(), X_Trac_Version=version)
    assert sorted(relay(own={"dana": False})(raw, ALL).rcpt) == ["luc@example.net", "sato@example.jp"]


def test_for_all_and_the_exception(relay, changed, mail):
    everybody = relay(own_changes="no")
    assert sorted(everybody(changed(), ALL).rcpt) == ["dana@example.com", "luc@example.net"]
    assert sorted(everybody(mail(body=body()), ALL).rcpt) == ["luc@example.net", "sato@example.jp"]
    assert sorted(relay(own={"sato": True}, own_changes="no")(changed(), ALL).rcpt) == sorted(ALL)
    by_nobody_known = relay(own_changes="no")(changed(by="kim@example.org"), [*ALL, "kim@example.org"])
    assert sorted(by_nobody_known.rcpt) == sorted(ALL)


def test_the_mail_of_a_person_s_bare_login_is_his_too(relay, changed):
    users = {"sato": "sato", "luc": "luc@example.net"}
    left = relay(own={"sato": False}, users=users, smtp_default_domain="corp.example.com")(changed(), ["sato", "luc"])
    assert left.rcpt == ["luc@example.net"]


def test_two_of_one_name_lose_nothing(relay, changed):
    users = USERS | {"other": '"佐藤 花子" <other@example.jp>'}
    raw = changed(by="佐藤 花子")
    assert sorted(relay(own={"sato": False}, users=users)(raw, ALL).rcpt) == sorted(ALL)


@pytest.mark.parametrize("asked", ["luc@example.net", "luc@EXAMPLE.net", "luc"])
def test_mute_never_gets_mail(relay, mail, dropped, asked):
    options = {"always_notify_owner": "true", "smtp_always_cc": "luc, list@example.org", "use_public_cc": "true"}
    left = relay(mute=("luc",), smtp_always_bcc="luc@example.net", **options)(
        mail(body=body()), [asked, "a@example.org"]
    )
    assert sorted(left.rcpt) == ["a@example.org", "list@example.org"]
    assert b"luc@" not in left.named
    assert set(dropped(left.prepared).values()) == {"mute"}


@pytest.mark.parametrize("public", ["true", "false"])
def test_mute_is_not_shown_either(relay, mail, public):
    left = relay(mute=("luc",), smtp_always_cc="luc@example.net, list@example.org", use_public_cc=public)(mail())
    assert left.rcpt == ["list@example.org"]
    assert left.addresses("Cc") == ["list@example.org"]


def test_mute_of_a_login_without_an_address_is_its_name_in_the_default_domain(relay, mail):
    made = relay(smtp_default_domain="corp.example.com")
    made.setting = dataclasses.replace(made.setting, users=Users((User("kim", mute=True), User("no login", mute=True))))
    assert made(mail(), ["kim@corp.example.com", "kim@example.org"]).rcpt == ["kim@example.org"]


def test_mute_holds_where_nothing_else_is_rewritten(relay, mail):
    assert relay(mute=("luc",), rewrite="off")(mail(), ["luc", "a@example.org"]).rcpt == ["a@example.org"]


# --- rewrite = off, from = keep, catch_all --------------------------------------------------------------

CRON = (
    b"From: root (Cron Daemon)\r\nTo: root, in@gw.example.com\r\nBcc: spy@example.org\r\nCc: A <a@example.org>\r\n"
    b"Subject: =?x?= Cron <root@web> backup\r\nMessage-ID: <1@>\r\nReply-To: <>\r\nSender: root\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nh\xc3\xa9las\r\n"
)


def test_off_leaves_header_and_body_as_they_came(gateway):
    made = gateway(
        rewrite="off",
        smtp_always_cc="list@example.org",
        smtp_replyto="r@example.com",
        smtp_default_domain="corp.example.com",
        mime_encoding="base64",
    )
    left = made(
        CRON, ["root", "in@gw.example.com", "a@example.org", "A@example.ORG", "a@EXAMPLE.org"], mail_from="root"
    )
    assert left.rcpt == ["root@corp.example.com", "a@example.org", "A@example.ORG"]
    assert left.mail_from == "root@corp.example.com"
    trace, date = left.mail.message.fields[:2], left.mail.message.fields[-1]
    assert [field.name for field in trace] == ["received", "x-tracker-relay"]
    assert date.name == "date"
    rest = left.raw
    for field in (*trace, date):
        rest = rest.replace(field.raw, b"", 1)
    assert rest == CRON.replace(b"Bcc: spy@example.org\r\n", b"")


@pytest.mark.parametrize(
    ("options", "sender", "expected"),
    [
        ({}, "root", "root@gw.example.com"),
        ({"use_short_addr": "true"}, "root", "root"),
        ({"smtp_default_domain": "d.example"}, "root@web", "root@web"),
        ({"smtp_default_domain": "d.example"}, None, ""),
    ],
)
def test_off_keeps_the_sender_that_can_be_answered(gateway, options, sender, expected):
    assert gateway(rewrite="off", **options)(CRON, ["a@example.org"], mail_from=sender).mail_from == expected


def test_off_adds_a_message_id_only_where_there_is_none(gateway):
    assert (
        gateway(rewrite="off")(b"Subject: x\r\n\r\nx\r\n", ["a@b.example"])
        .header("Message-ID")
        .endswith("@example.com>")
    )
    assert gateway(rewrite="off")(CRON, ["a@b.example"]).header("Message-ID") == "<1@>"
    assert gateway()(CRON, ["a@b.example"]).header("Message-ID") == "<1@example.com>"


def test_keep_repairs_a_null_sender_once(gateway, mail):
    """To smtp_from's address; that stays, when the mail passes a second time (promise 8)."""
    made = gateway(from_="keep")
    for sender in (None, "bot@example.com"):
        left = made(mail(), ["a@example.org"], mail_from=sender)
        assert (left.mail_from, left.header("From")) == ("bot@example.com", "Harbour <h@t.example.com>")


def test_catch_all_leaves_envelope_to_and_cc_under_a_profile_s_own_domain(gateway, mail):
    made = gateway(smtp_default_domain="gw.example.com", use_public_cc="true")
    raw = mail(To="in@gw.example.com, bob", Cc="IN <in@GW.example.com>, a@example.org")
    left = made(raw, ["in", "in@GW.example.com", "bob", "a@example.org"])
    assert left.rcpt == ["bob@gw.example.com", "a@example.org"]
    assert b"in@" not in left.named.lower()
    assert address.parse("in@gw.example.com") in made.setting.catch_all
