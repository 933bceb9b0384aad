"""The rules about recipients beyond the numbered examples: ignored realms, own addresses, what a visible field may hide."""

import pytest

from tests.gateway import Gateway, harbour

TO = ["eve@example.org"]
USERS = {
    "dana": "Dana Field <dana@example.com>",
    "luc": "luc@example.net",
    "kim@REALM.example": "Kim <kim@example.org>",
}
RULE = "-" * 20 + "+" + "-" * 20
BODY = f"#12: Crane jams\r\n{RULE}\r\n  Reporter:  dana   |      Owner:  luc\r\n{RULE}\r\n it jams\r\n-- \r\n"
UNDISCLOSED = [b"To: undisclosed-recipients: ;\r\n"]


def raws(left, name):
    return [field.raw for field in left.fields(name)]


# --- names that are no addresses -------------------------------------------------------------------------


@pytest.mark.parametrize("realm", ["REALM.example", "realm.EXAMPLE"])
def test_a_known_login_in_an_ignored_realm_is_reached_at_his_address(realm):
    relay = Gateway(ignore_domains="realm.example", users=USERS, smtp_always_cc="kim@realm.example")
    left = relay(harbour(), [f"kim@{realm}", f"joe@{realm}", *TO])
    assert left.rcpt == ["kim@example.org", *TO]
    assert left.addresses("Cc") == ["kim@example.org"]


def test_nobody_is_added_in_an_ignored_realm():
    body = BODY.replace("dana ", "dana@realm.example ")
    relay = Gateway(ignore_domains="realm.example", always_notify_reporter="true")
    assert relay(harbour(body=body), TO).rcpt == TO


def test_the_relays_own_address_is_never_added_nor_shown():
    """Whoever pastes trac.ini's options has the catch_all address in smtp_always_cc."""
    for options in ({}, {"use_public_cc": "true"}):
        relay = Gateway(
            smtp_always_cc="in@gw.example.com, list@example.org", smtp_always_bcc="in@GW.example.com", **options
        )
        left = relay(harbour(Cc="in@gw.example.com"), TO)
        assert left.rcpt == [*TO, "list@example.org"]
        assert left.addresses("Cc") == ["list@example.org"]
        assert b"in@gw" not in left.raw.lower()


def test_a_stored_bare_address_is_no_login():
    users = {"dana": "Dana <kim-mail>", "kim-mail": "Other <other@example.org>"}
    relay = Gateway(users=users, smtp_default_domain="corp.example.com", always_notify_reporter="true")
    assert relay(harbour(body=BODY), TO).rcpt == [*TO, "kim-mail@corp.example.com"]


# --- whom use_public_cc shows ----------------------------------------------------------------------------


def test_a_second_gateway_leaves_in_to_whom_the_first_has_put_there():
    """Found by fuzzing: who caused a Jira mail stands in its From alone, which the first gateway has replaced."""
    relay = Gateway(users=USERS, use_public_cc="true")
    ours = ["X-Trac-Project", "X-Trac-Version", "X-Trac-Ticket-ID", "X-Trac-Ticket-URL", "X-Mailer", "X-URL"]
    written = {"From": '"Dana Field (JIRA)" <jira@example.com>', "X-JIRA-FingerPrint": "1"}
    raw = harbour("[JIRA] [Created] (HARB-12) Crane jams", drop=ours, **written)
    left = relay(raw, ["dana@example.com", *TO])
    assert left.addresses("To") == ["dana@example.com"]
    again = relay(left.raw, left.rcpt, mail_from=left.mail_from)
    assert again.raw == left.raw
    assert relay(left.raw, TO).addresses("To") == [], "if he is a recipient"


def test_example_41_a_reporter_known_from_the_envelope_alone():
    left = Gateway(users=USERS, use_public_cc="true")(
        harbour(body=BODY, Cc="press@example.org"), ["dana@example.com", "press@example.org", "ghost@example.org"]
    )
    assert left.addresses("To") == ["dana@example.com"]
    assert left.addresses("Cc") == ["press@example.org"]
    assert b"ghost" not in left.raw


@pytest.mark.parametrize("rcpt", [["dana@example.com"], []])
def test_always_bcc_hides_even_the_reporter(rcpt):
    relay = Gateway(users=USERS, use_public_cc="true", public_envelope="true", smtp_always_bcc="dana@example.com")
    left = relay(harbour(body=BODY, To="dana@example.com", Cc="Dana <dana@example.com>"), [*rcpt, *TO])
    assert sorted(left.rcpt) == ["dana@example.com", *TO]
    assert b"dana@" not in left.named


def test_always_cc_shows_the_same_in_every_mail_of_an_event():
    relay = Gateway(use_public_cc="true", smtp_always_cc="list@example.org")
    raw = harbour(Cc="press@example.org")
    first = relay(raw, ["press@example.org"])
    later = relay(raw, ["press@example.org"], first_of_event=False)
    assert first.addresses("Cc") == later.addresses("Cc") == ["list@example.org", "press@example.org"]
    assert later.rcpt == ["press@example.org"]


# --- what a field may hide -------------------------------------------------------------------------------

HIDING_PLACES = [
    "ghost@example.org: ;",
    "(ghost@example.org) undisclosed-recipients: ;",
    '"ghost@example.org" <list@example.org>',
    "list@example.org (ghost@example.org)",
    "=?utf-8?q?ghost=40example=2Eorg?= <list@example.org>",
    "ghost@example.org:list@example.org;",
    "list@example.org, <ghost@example.org",
    "list@example.org ghost@example.org",
]


@pytest.mark.parametrize("name", ["To", "Cc"])
@pytest.mark.parametrize("written", HIDING_PLACES)
@pytest.mark.parametrize("options", [{}, {"use_public_cc": "true"}])
def test_nobody_hides_in_comments_names_and_groups(name, written, options):
    raw = harbour(**{name: written})
    left = Gateway(smtp_always_cc="list@example.org", **options)(raw, ["ghost@example.org", "list@example.org"])
    assert "ghost@example.org" in left.rcpt
    assert b"ghost" not in left.named
    assert left.addresses("Cc") == ["list@example.org"]


@pytest.mark.parametrize(
    "name",
    ["Resent-From", "Resent-Sender", "Resent-Reply-To", "Resent-To", "Resent-Bcc", "Delivered-To", "X-Original-To"],
)
@pytest.mark.parametrize("options", [{}, {"rewrite": "off"}])
def test_a_resent_field_names_no_hidden_recipient(name, options):
    raw = harbour(**{name: "Ghost <ghost@example.org>"})
    assert Gateway(**options)(raw, ["ghost@example.org"]).fields(name) == []
    kept = Gateway(**options)(harbour(Resent_From="Ghost <ghost@example.org>"), TO)
    assert raws(kept, "Resent-From") == [b"Resent-From: Ghost <ghost@example.org>\r\n"]


@pytest.mark.parametrize(
    "written",
    ["undisclosed-recipients: ;", "Undisclosed-Recipients:;", '"undisclosed recipients":;', "unlisted-recipients: ;"],
)
def test_a_field_that_names_nobody_stays(written):
    raw = harbour(To=written)
    assert raws(Gateway()(raw, TO), "To") == [f"To: {written}\r\n".encode()]


def test_two_to_fields_become_one():
    raw = harbour(drop=["To"]).replace(b"Subject:", b"To: a@example.org\r\nTo: b@example.org\r\nSubject:", 1)
    assert raws(Gateway()(raw, TO), "To") == UNDISCLOSED
    left = Gateway(use_public_cc="true")(raw, ["a@example.org", "b@example.org"])
    assert left.addresses("Cc") == ["a@example.org", "b@example.org"]
    assert raws(left, "To") == UNDISCLOSED


def test_visible_fields_are_written_in_ascii_where_they_can_be():
    left = Gateway(use_public_cc="true", smtp_always_cc="l@münchen.example")(
        harbour(Cc="Zoë <zoe@bücher.example>"), ["zoe@xn--bcher-kva.example"]
    )
    assert left.mail.message.header_bytes.isascii()
    assert left.addresses("Cc") == ["l@xn--mnchen-3ya.example", "zoe@xn--bcher-kva.example"]
    again = Gateway(use_public_cc="true", smtp_always_cc="l@münchen.example")(left.raw, left.rcpt)
    assert raws(again, "Cc") == raws(left, "Cc")
    assert again.rcpt == left.rcpt
