"""Acceptance examples 1 to 15: who gets the mail, and whom it names."""

import pytest

from relay.options import address_list
from relay.rewrite import Policy

UNDISCLOSED = b"To: undisclosed-recipients: ;\r\n"


def test_example_01_always_cc_is_visible_in_cc(gateway, mail):
    left = gateway(smtp_always_cc="list@example.org")(mail())
    assert left.rcpt == ["list@example.org"]
    assert left.addresses("Cc") == ["list@example.org"]
    assert [f.raw for f in left.fields("To")] == [UNDISCLOSED]


def test_example_01_without_a_to_field(gateway, mail):
    """0.10 to 1.0 write no To at all when nobody is to be seen."""
    left = gateway(smtp_always_cc="list@example.org")(mail(drop=["To"]))
    assert [f.raw for f in left.fields("To")] == [UNDISCLOSED]


def test_example_02_always_bcc_is_in_no_field(gateway, mail):
    left = gateway(smtp_always_bcc="audit@example.org")(
        mail(Bcc="audit@example.org", Apparently_To="audit@example.org")
    )
    assert left.rcpt == ["audit@example.org"]
    assert b"audit" not in left.raw


def test_example_03_in_both_lists_is_one_recipient_shown(gateway, mail):
    left = gateway(smtp_always_cc="a@example.org", smtp_always_bcc="a@example.org")(mail())
    assert left.rcpt == ["a@example.org"]
    assert left.addresses("Cc") == ["a@example.org"]


@pytest.mark.parametrize("theirs", [{}, {"Cc": "audit@example.org, press@example.org"}])
def test_example_04_always_bcc_stays_hidden_with_use_public_cc(gateway, mail, theirs):
    """Trac 1.2 to 1.6 show their own always_bcc in Cc."""
    relay = gateway(smtp_always_bcc="audit@example.org", use_public_cc="true")
    rcpt = ["in@gw.example.com", *(["audit@example.org", "press@example.org"] if theirs else [])]
    left = relay(mail(**theirs), rcpt)
    assert "audit@example.org" in left.rcpt
    assert b"audit" not in left.raw
    assert left.addresses("Cc") == (["press@example.org"] if theirs else [])


def test_example_05_commas_and_blanks_separate(gateway, mail):
    left = gateway(smtp_always_cc="a@example.org, b@example.org c@example.org")(mail())
    assert left.rcpt == ["a@example.org", "b@example.org", "c@example.org"]


def test_example_06_semicolons_separate(gateway, mail):
    left = gateway(smtp_always_cc="a@example.org; b@example.org")(mail())
    assert left.rcpt == ["a@example.org", "b@example.org"]


def test_example_07_a_display_name_is_no_recipient(gateway, mail):
    left = gateway(smtp_always_cc="List Robot <l@example.org>", smtp_default_domain="corp.example.com")(mail())
    assert left.rcpt == ["l@example.org"]
    assert b"List@" not in left.raw
    assert b"Robot@" not in left.raw


def test_example_08_never_a_part_of_an_address(gateway, mail):
    left = gateway(smtp_always_cc="x&y@example.org")(mail())
    assert left.rcpt == ["x&y@example.org"]


@pytest.mark.parametrize(
    "bad", ["alice@evil.test)bob@good.test", "a,b@", "<x", "a@b@c", "@example.org", "a@exa mple..org"]
)
def test_example_08_what_does_not_parse_is_refused_at_configuration_time(bad):
    with pytest.raises(ValueError, match="is not an address"):
        address_list(bad)


def test_example_09_local_parts_differ_domains_do_not(gateway, mail):
    left = gateway(smtp_always_cc="A@example.org")(mail(), ["a@EXAMPLE.org", "in@gw.example.com"])
    assert sorted(left.rcpt) == ["A@example.org", "a@EXAMPLE.org"]
    left = gateway(smtp_always_cc="A@example.org")(mail(), ["A@EXAMPLE.ORG"])
    assert left.rcpt == ["A@EXAMPLE.ORG"]


def test_example_10_default_domain(gateway, mail):
    left = gateway(smtp_default_domain="corp.example.com")(mail(), ["bob"])
    assert left.rcpt == ["bob@corp.example.com"]


def test_example_11_short_addresses_win(gateway, mail):
    left = gateway(smtp_default_domain="corp.example.com", use_short_addr="true")(mail(), ["bob"])
    assert left.rcpt == ["bob"]


def test_example_12_a_name_without_a_domain_is_dropped_alone(gateway, mail, dropped):
    left = gateway()(mail(), ["bob", "eve@example.org"])
    assert left.rcpt == ["eve@example.org"]
    assert dropped(left.prepared) == {"rcpt:bob": "complete_addresses"}
    assert any(note.warning and "bob" in note.text for note in left.prepared.notes)


def test_example_13_nobody_left_is_no_mail(gateway, mail, dropped):
    prepared = gateway().prepare(mail(), ["bob"])
    assert prepared.routed == ()
    assert dropped(prepared) == {"rcpt:bob": "complete_addresses"}


def test_example_14_an_address_with_an_at_is_never_touched(gateway, mail):
    left = gateway(smtp_default_domain="corp.example.com")(mail(), ["joe@localhost"])
    assert left.rcpt == ["joe@localhost"]


def test_example_15_the_sender_is_completed_too(gateway, mail):
    left = gateway(smtp_from="bot", smtp_default_domain="d.example.com")(mail(), ["eve@example.org"])
    assert left.mail_from == "bot@d.example.com"
    assert left.addresses("From") == ["bot@d.example.com"]


def test_the_catch_all_address_never_leaves(gateway, mail):
    left = gateway(use_public_cc="true")(
        mail(Cc="in@gw.example.com, eve@example.org"), ["IN@gw.example.com".replace("IN", "in"), "eve@example.org"]
    )
    assert left.rcpt == ["eve@example.org"]
    assert b"in@gw" not in left.raw


def test_names_at_ignored_domains_are_no_addresses(gateway, mail, dropped):
    relay = gateway(ignore_domains="realm.example.com, OTHER.example", smtp_always_cc="x@other.EXAMPLE ok@example.org")
    left = relay(mail(), ["joe@REALM.example.com", "eve@example.org"])
    assert left.rcpt == ["eve@example.org", "ok@example.org"]
    assert dropped(left.prepared) == {"rcpt:joe@REALM.example.com": "filter_domains"}
    assert left.addresses("Cc") == ["ok@example.org"]


def test_disabled_means_every_recipient_is_dropped_by_name(gateway, mail, dropped):
    prepared = gateway(smtp_enabled="false").prepare(mail(), ["bob", "eve@example.org"])
    assert prepared.routed == ()
    assert dropped(prepared) == {"rcpt:bob": "smtp_enabled", "rcpt:eve@example.org": "smtp_enabled"}


def test_absent_smtp_enabled_is_false():
    assert Policy().smtp_enabled is False


def test_envelope_recipients_stay_hidden_unless_public_envelope(gateway, mail):
    raw, rcpt = mail(Cc="press@example.org"), ["press@example.org", "ghost@example.org"]
    assert gateway(use_public_cc="true")(raw, rcpt).addresses("Cc") == ["press@example.org"]
    shown = gateway(use_public_cc="true", public_envelope="true")(raw, rcpt).addresses("Cc")
    assert shown == ["press@example.org", "ghost@example.org"]


def test_bare_names_shown_in_cc_are_completed(gateway, mail):
    relay = gateway(use_public_cc="true", smtp_default_domain="corp.example.com")
    left = relay(mail(Cc="bob, Eve <eve@example.org>"), ["bob", "eve@example.org"])
    assert left.addresses("Cc") == ["bob@corp.example.com", "eve@example.org"]
    assert b"Eve <eve@example.org>" in left.raw
