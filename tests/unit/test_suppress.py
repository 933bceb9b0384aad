"""The rule `suppress`: whom it takes out, and what still shows of him."""

from dataclasses import replace

import pytest

from relay.address import parse
from relay.entry import Disposition, Entry
from relay.mail import Envelope, Recipient
from relay.message import BytesBody
from relay.prepare import prepare
from tests.gateway import Gateway, harbour

KIM = "kim@example.org"


def relay(*suppressed, **options):
    gateway = Gateway(smtp_default_domain="example.org", **options)
    gateway.setting = replace(gateway.setting, suppressed=frozenset(parse(text).key for text in suppressed))
    return gateway


@pytest.mark.parametrize("asked", ["kim@example.org", "kim@EXAMPLE.org", "kim", '"kim"@example.org'])
@pytest.mark.parametrize("rewrite", ["full", "off"])
def test_a_dead_address_gets_nothing_however_it_was_written(asked, rewrite):
    left = relay(KIM, rewrite=rewrite)(harbour(), [asked, "eve@example.org"])
    assert left.rcpt == ["eve@example.org"]
    [gone] = left.prepared.settled
    assert (gone.origin, gone.rule, gone.disposition) == (f"rcpt:{asked}", "suppress", Disposition.DROPPED)
    assert gone.reply.text == "dropped by suppress: a dead address: see tracker-relay suppress list"


def test_another_mailbox_of_the_same_name_is_alive():
    left = relay(KIM)(harbour(), ["Kim@example.org", "kim@example.net", "kim@sub.example.org"])
    assert left.rcpt == ["Kim@example.org", "kim@example.net", "kim@sub.example.org"]
    assert not left.prepared.settled


@pytest.mark.parametrize("options", [{"use_short_addr": "true", "smtp_default_domain": None}, {}])
def test_a_bare_name_on_the_list_is_that_name_as_it_was_given(options):
    gateway = Gateway(**{"smtp_default_domain": "example.org", **options})
    gateway.setting = replace(gateway.setting, suppressed=frozenset({parse("kim").key}))
    left = gateway(harbour(), ["kim", "eve@example.org"])
    assert left.rcpt == ["eve@example.org"]


@pytest.mark.parametrize("public", ["true", "false"])
def test_a_dead_address_of_always_cc_and_bcc_is_neither_mailed_nor_shown(public):
    left = relay(KIM, smtp_always_cc=f"{KIM}, list@example.org", smtp_always_bcc=KIM, use_public_cc=public)(
        harbour(To=KIM), ["eve@example.org"]
    )
    assert left.rcpt == ["eve@example.org", "list@example.org"]
    assert left.addresses("Cc") == ["list@example.org"]
    assert b"kim@" not in left.named


def test_nobody_left_is_no_mail_and_no_fault():
    prepared = relay(KIM).prepare(harbour(), [KIM])
    assert prepared.routed == ()
    assert [outcome.rule for outcome in prepared.settled] == ["suppress"]


@pytest.mark.parametrize("suppressed", [[], [KIM]])
def test_a_report_of_ours_does_not_go_there_either(suppressed):
    to = Recipient.accepted(parse(KIM))
    entry = Entry("1hf7yat00000005", 1_700_000_000.0, Envelope(None, (to,)), report=True)
    prepared = prepare(entry, BytesBody(b"Subject: x\r\n\r\nx\r\n"), relay(*suppressed).setting)
    routed = [str(r.address) for _, mail in prepared.routed for r in mail.envelope.recipients]
    assert routed == ([] if suppressed else [KIM])
    assert [outcome.rule for outcome in prepared.settled] == (["suppress"] if suppressed else [])
