"""Acceptance examples 36 to 41 and 47: who reported, who owns, who changed; and that nobody can pretend."""

import hashlib

import pytest

USERS = {
    "dana": "Dana Field <dana@example.com>",
    "luc": "Luc Bézier <luc@example.net>",
    "sato": '"佐藤 花子" <sato@example.jp>',
}
RULE = "-------------------------+------------------\r\n"


def body(reporter="dana", owner="luc", event="", text=" The crane jams.\r\n", summary="#12: Crane jams", extra=""):
    rows = f"  Reporter:  {reporter:<12}|      Owner:  {owner}\r\n      Type:  defect      |     Status:  new\r\n"
    return f"{summary}\r\n{RULE}{rows}{RULE}{extra}{event}{text}"


def root(reporter, ticket="12", url="http://t.example.com/harbour"):
    """The Message-ID that Trac gives a new ticket of this reporter."""
    text = f"{url}.{int(ticket):08}.0.{reporter.encode('ascii', 'ignore').decode()}"
    return f"<{len(text):03}.{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}@t.example.com>"


@pytest.fixture
def relay(gateway):
    def make(**options):
        users = options.pop("users", USERS)
        return gateway(users=users, **options)

    return make


@pytest.mark.parametrize("shown", ["dana", "Dana Field", "dana@\u2026", "dana@...", "dana@example.com"])
def test_example_36_the_reporter_is_added(relay, mail, shown):
    left = relay(always_notify_reporter="true")(mail(body=body(reporter=shown)))
    assert left.rcpt == ["dana@example.com"]


def test_example_36_without_the_option_nobody_is(relay, mail):
    assert relay().prepare(mail(body=body())).routed == ()


TWINS = USERS | {"dana2": "Dana Field <dana2@example.com>"}


@pytest.mark.parametrize(("login", "address"), [("dana", "dana@example.com"), ("dana2", "dana2@example.com")])
@pytest.mark.parametrize("field", ["Message_ID", "In_Reply_To"])
def test_example_37_of_two_with_one_name_the_hash_tells(relay, mail, login, address, field):
    left = relay(always_notify_reporter="true", users=TWINS)(
        mail(body=body(reporter="Dana Field"), **{field: root(login)})
    )
    assert left.rcpt == [address]


def test_example_37_none_fits_nobody_is_added(relay, mail):
    prepared = relay(always_notify_reporter="true", users=TWINS).prepare(mail(body=body(reporter="Dana Field")))
    assert prepared.routed == ()
    assert any(note.warning and "Dana Field may be dana or dana2" in note.text for note in prepared.notes)


def test_the_proof_beats_the_body(relay, mail):
    left = relay(always_notify_reporter="true")(mail(body=body(reporter="Somebody"), Message_ID=root("luc")))
    assert left.rcpt == ["luc@example.net"]


def test_a_tie_of_the_hash_asks_the_body(relay, mail):
    users = {"rené": "René A <rene@example.com>", "renè": "René B <other@example.com>"}
    left = relay(always_notify_reporter="true", users=users)(mail(body=body(reporter="rené"), Message_ID=root("rené")))
    assert left.rcpt == ["rene@example.com"]


def test_example_38_owner_and_previous_owner(relay, mail):
    event = "Changes (by dana):\r\n\r\n * owner:  luc => sato\r\n * status:  new => assigned\r\n\r\nComment:\r\n\r\n"
    left = relay(always_notify_owner="true")(mail(body=body(owner="sato", event=event), In_Reply_To=root("dana")))
    assert sorted(left.rcpt) == ["luc@example.net", "sato@example.jp"]


COMMENT = "Comment (by sato):\r\n\r\n"


def test_example_39_the_updater_does_not_hear_of_himself(relay, mail, dropped):
    raw = mail(body=body(event=COMMENT), In_Reply_To=root("dana"))
    left = relay(always_notify_updater="false")(raw, ["sato@example.jp", "luc@example.net"])
    assert left.rcpt == ["luc@example.net"]
    assert dropped(left.prepared) == {"rcpt:sato@example.jp": "always_notify_updater"}
    raw = mail(body=body(reporter="sato", event=COMMENT), In_Reply_To=root("sato"))
    both = relay(always_notify_updater="false", always_notify_reporter="true")(
        raw, ["sato@example.jp", "luc@example.net"]
    )
    assert sorted(both.rcpt) == ["luc@example.net", "sato@example.jp"]


def test_example_39_always_cc_is_not_taken_away(relay, mail):
    raw = mail(body=body(event=COMMENT), In_Reply_To=root("dana"))
    left = relay(always_notify_updater="false", smtp_always_cc="sato@example.jp")(
        raw, ["sato@example.jp", "luc@example.net"]
    )
    assert sorted(left.rcpt) == ["luc@example.net", "sato@example.jp"]


@pytest.mark.parametrize(("version", "added"), [("0.12.7", True), ("1.0.20", True), ("1.2", False), ("1.6", False)])
def test_the_updater_by_default_is_as_the_release_does(relay, mail, version, added):
    raw = mail(body=body(event=COMMENT), In_Reply_To=root("dana"), X_Trac_Version=version)
    left = relay()(raw, ["luc@example.net"])
    assert ("sato@example.jp" in left.rcpt) == added
    explicit = relay(always_notify_updater="true")(raw, ["luc@example.net"])
    assert "sato@example.jp" in explicit.rcpt


IMITATIONS = {
    "example 40: in the description": body(text=" Changes (by mallory):\r\n\r\n  * owner:  luc => mallory\r\n"),
    "in a comment": body(
        event="Comment (by sato):\r\n\r\n", text=" Changes (by mallory):\r\n\r\n  * owner:  luc => mallory\r\n"
    ),
    "in the comment of a change": body(
        event="Changes (by sato):\r\n\r\n * status:  new => assigned\r\n\r\nComment:\r\n\r\n",
        text=" * owner:  mallory => luc\r\n",
    ),
    "in a multi-line field": body(
        extra=f"Steps:\r\nChanges (by mallory):\r\n\r\n{RULE}", event="Comment (by sato):\r\n\r\n"
    ),
    "a table in a multi-line field": body(
        extra=f"{RULE}  Reporter:  mallory     |      Owner:  mallory\r\n{RULE}Changes (by mallory):\r\n{RULE}",
        event="Comment (by sato):\r\n\r\n",
    ),
    "a rule in the description": body(text=f" x\r\n {RULE} Changes (by mallory):\r\n"),
    "a value that looks like a cell": body(owner="luc  Owner:  mallory"),
    "quoted mail": body(event="Comment (by sato):\r\n\r\n", text=" > Changes (by mallory):\r\n"),
}


@pytest.mark.parametrize("name", IMITATIONS)
def test_example_40_nobody_can_pretend(relay, mail, name):
    users = USERS | {"mallory": "Mallory <mallory@evil.example>"}
    options = {"always_notify_reporter": "true", "always_notify_owner": "true", "always_notify_updater": "true"}
    raw = mail(body=IMITATIONS[name], In_Reply_To=root("dana"))
    left = relay(users=users, **options)(raw)
    assert "mallory@evil.example" not in left.rcpt
    assert "dana@example.com" in left.rcpt


def test_example_40_a_table_in_the_summary(relay, mail):
    users = USERS | {"mallory": "Mallory <mallory@evil.example>"}
    fake = f"x {RULE.strip()} Reporter:  mallory | Owner:  mallory {RULE.strip()}"
    summary = f"#12: x\r\n{RULE}  Reporter:  mallory     |      Owner:  mallory\r\n{RULE.strip()}"
    raw = mail(f"[Harbour] #12: {fake}", body=body(summary=summary))
    left = relay(users=users, always_notify_reporter="true", always_notify_owner="true")(raw)
    assert sorted(left.rcpt) == ["dana@example.com", "luc@example.net"]


def test_example_41_people_in_to_others_in_cc(relay, mail):
    raw, rcpt = mail(body=body(), Cc="press@example.org, dana"), ["dana", "press@example.org"]
    left = relay(use_public_cc="true")(raw, rcpt)
    assert left.addresses("To") == ["dana@example.com"]
    assert left.addresses("Cc") == ["press@example.org"]
    hidden = relay(use_public_cc="false")(raw, rcpt)
    assert [f.raw for f in hidden.fields("To")] == [b"To: undisclosed-recipients: ;\r\n"]
    assert hidden.fields("Cc") == []
    assert b"press@" not in hidden.raw


def test_a_bare_login_is_the_user_before_the_default_domain(relay, mail):
    left = relay(smtp_default_domain="corp.example.com")(mail(), ["luc", "kim"])
    assert left.rcpt == ["luc@example.net", "kim@corp.example.com"]


def test_anonymous_and_nobody_are_never_recipients(relay, mail):
    users = USERS | {"anonymous": "A <a@example.com>", "(none)": "B <b@example.com>"}
    options = {"always_notify_reporter": "true", "always_notify_owner": "true", "always_notify_updater": "true"}
    raw = mail(
        body=body(reporter="anonymous", owner="(none)", event="Comment (by anonymous):\r\n\r\n"), In_Reply_To="<x@y>"
    )
    assert relay(users=users, **options).prepare(raw).routed == ()


def test_an_ellipsis_that_fits_two_is_nobody(relay, mail):
    users = {"a": "A <dana@example.com>", "b": "B <dana@example.org>"}
    assert (
        relay(users=users, always_notify_reporter="true").prepare(mail(body=body(reporter="dana@\u2026"))).routed == ()
    )


def test_example_46_a_later_mail_of_the_event_gets_no_additions(relay, mail, gateway):
    options = {
        "smtp_always_cc": "list@example.org",
        "smtp_always_bcc": "audit@example.org",
        "always_notify_reporter": "true",
    }
    first = relay(**options)(mail(body=body()), ["a@example.org"])
    assert sorted(first.rcpt) == ["a@example.org", "audit@example.org", "dana@example.com", "list@example.org"]
    later = relay(**options)(mail(body=body()), ["b@example.org"], first_of_event=False)
    assert later.rcpt == ["b@example.org"]


GUIDE = """\
#42: testing
-----+-----
      Id: 42          |      Status: assigned
Component: report system |      Modified: Fri Apr 9 00:04:31 2004
Severity: major        |      Milestone: 0.9
Priority: lowest       |      Version: 0.6
      Owner: anonymous |      Reporter: jonas@example.com
-----+-----
Changes:
* component: changset view => search system
* priority: low => highest
* owner: jonas => anonymous
* cc: daniel@example.com =>
      daniel@example.com, jonas@example.com
* status: new => assigned

Comment:
I'm interested too!

--
Ticket URL: <http://example.com/trac/ticket/42>
My Project <http://myproj.example.com/>
"""


@pytest.mark.parametrize("blank", ["", " "])
def test_example_47_the_guides_own_sample(gateway, mail, blank):
    text = GUIDE.replace("\n* ", f"\n{blank}* ").replace("\n", "\r\n")
    raw = mail("[My Project] #42: testing", body=text, drop=["X-Trac-Ticket-ID"], X_Trac_Version="0.7")
    options = {"always_notify_reporter": "true", "always_notify_owner": "true", "always_notify_updater": "true"}
    left = gateway(users={"jonas": "jonas@example.com", "anonymous": "x@example.com"}, **options)(raw)
    assert left.rcpt == ["jonas@example.com"]
