"""The option `staging`: who gets the mail of a tracker that is only tried out, and that nobody else does."""

from dataclasses import replace

import pytest

from relay.address import parse
from relay.entry import Disposition
from relay.people import Users
from relay.profiles import DEFAULT
from tests.gateway import Gateway, harbour

ASKED = ["eve@example.org", "bob"]


@pytest.mark.parametrize("rewrite", ["full", "off"])
@pytest.mark.parametrize("extra", [{}, {"smtp_always_cc": "list@example.org", "smtp_always_bcc": "audit@example.org"}])
def test_nobody_else_gets_anything(rewrite, extra):
    options = {"smtp_default_domain": "example.com", "rewrite": rewrite, **extra}
    live, left = (
        Gateway(**options, **more)(harbour(), ASKED) for more in ({}, {"staging": "try@example.net, dev@example.net"})
    )
    assert left.rcpt == ["try@example.net", "dev@example.net"]
    assert {o.address for o in left.prepared.settled} == set(live.rcpt)
    assert {(o.rule, o.disposition) for o in left.prepared.settled} == {("staging", Disposition.DROPPED)}
    assert left.raw == live.raw  # what is tried out is what would have left
    assert left.mail_from == live.mail_from


def test_whoever_stands_in_staging_and_was_asked_for_gets_it_once():
    left = Gateway(staging="eve@EXAMPLE.org, try@example.net, try@example.NET")(harbour(), ["eve@example.org"])
    assert left.rcpt == ["eve@example.org", "try@example.net"]
    assert not left.prepared.settled


def test_what_nobody_would_have_got_nobody_gets():
    prepared = Gateway(staging="try@example.net").prepare(harbour(), ["bob"])
    assert prepared.routed == ()
    assert [o.rule for o in prepared.settled] == ["complete_addresses"]


def test_an_address_that_can_not_be_mailed_keeps_the_others_from_it_all_the_same():
    prepared = Gateway(staging="tester").prepare(harbour(), ["eve@example.org"])
    assert prepared.routed == ()
    assert [(o.address, o.rule) for o in prepared.settled] == [("eve@example.org", "staging")]
    assert any(note.warning and note.text.startswith("left out: tester ") for note in prepared.notes)


@pytest.mark.parametrize("staging", ["dana@example.org", "try@example.net"])
def test_who_is_muted_or_dead_is_not_mailed_by_staging_either(staging):
    gateway = Gateway(staging=f"{staging}, dev@example.net", users={"dana": "Dana <dana@example.org>"})
    muted = tuple(replace(user, mute=True) for user in gateway.setting.users)
    dead = frozenset({parse("try@example.net").key})
    gateway.setting = replace(gateway.setting, users=Users(muted), suppressed=dead)
    assert gateway(harbour(), ["eve@example.org"]).rcpt == ["dev@example.net"]


@pytest.mark.parametrize("public", ["true", "false"])
def test_the_header_names_nobody_who_was_spared(public):
    options = {"use_public_cc": public, "public_envelope": public, "smtp_always_cc": "list@example.org"}
    left = Gateway(staging="try@example.net, eve@example.org", **options)(
        harbour(To="eve@example.org, kim@example.org"), ["eve@example.org", "kim@example.org"]
    )
    assert left.rcpt == ["try@example.net", "eve@example.org"]
    assert left.addresses("Cc") == ["list@example.org"]
    assert left.header("To") == "undisclosed-recipients: ;"


def test_through_it_twice_is_once():
    first = Gateway(staging="try@example.net", smtp_always_cc="list@example.org")(harbour(), ["eve@example.org"])
    second = Gateway("gw2", staging="try@example.net", smtp_always_cc="list@example.org")(first.raw, first.rcpt)
    assert second.rcpt == first.rcpt
    assert second.fields("Cc") == first.fields("Cc")


def test_a_profile_may_be_live_while_the_others_are_tried_out(checked):
    loaded = checked(
        "[notification]\nsmtp_enabled = true\nsmtp_from = bot@example.com\nstaging = try@example.net\n"
        "[notification:live]\nmatch = project: Harbour\nstaging =\n[notification:too]\nmatch = project: Orchard\n"
    )
    policies = {profile.name: profile.policy for profile in loaded.configuration.notifications}
    assert {name: [str(a) for a in policy.staging] for name, policy in policies.items()} == {
        DEFAULT: ["try@example.net"],
        "live": [],
        "too": ["try@example.net"],
    }
    assert [f.text for f in loaded.warnings] == ["all of this mail goes to try@example.net, and to nobody else"]


def test_a_bare_name_without_a_domain_is_a_fault(checked):
    text = "[notification]\nsmtp_enabled = true\nsmtp_from = bot@example.com\nstaging = tester\n"
    [fault] = checked(text).faults
    assert (fault.line, fault.option) == (4, "staging")
    assert fault.text == "tester has no domain: write it whole, or set smtp_default_domain"
    assert not checked(text + "smtp_default_domain = example.com\n").faults
    assert not checked(text + "use_short_addr = true\n").faults


def test_the_login_of_a_known_user_is_his_address(checked):
    text = "[notification]\nsmtp_enabled = true\nsmtp_from = bot@example.com\nstaging = dana\n[users]\ndana = {}\n"
    assert not checked(text.format("Dana Field <dana@example.com>")).faults
    [fault] = checked(text.format("dana")).faults
    assert fault.text == "dana has no domain: write it whole, or set smtp_default_domain"
    left = Gateway(staging="dana", users={"dana": "Dana Field <dana@example.com>"})(harbour(), ["eve@example.org"])
    assert left.rcpt == ["dana@example.com"]


@pytest.fixture
def checked(tmp_path):
    from relay import config

    def read(text):
        path = tmp_path / "config.ini"
        path.write_text(text)
        return config.read(path, {})

    return read
