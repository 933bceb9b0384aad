"""Acceptance examples 16 to 29: originator fields and the Subject."""

import pytest

from relay import encoded_word


def test_example_16_only_replyto(gateway, mail):
    left = gateway(smtp_from=None, smtp_replyto="r@example.com")(mail(), ["eve@example.org"])
    assert left.mail_from == "r@example.com"
    assert left.addresses("From") == ["r@example.com"]
    assert left.addresses("Reply-To") == ["r@example.com"]


def test_example_17_an_empty_reply_to_goes_a_filled_one_stays(gateway, mail):
    for empty in ("<>", "", "Harbour", "Harbour <>"):
        assert gateway()(mail(Reply_To=empty), ["eve@example.org"]).fields("Reply-To") == []
    kept = gateway()(mail(Reply_To="Team   <team@example.org>"), ["eve@example.org"]).fields("Reply-To")
    assert [f.raw for f in kept] == [b"Reply-To: Team   <team@example.org>\r\n"]


@pytest.mark.parametrize("mail_from", ["", "Harbour", "h@t.example.com"])
@pytest.mark.parametrize("written", ["Harbour <>", "Harbour", "", '"Harbour" <h@t.example.com>'])
def test_examples_19_20_broken_senders_are_repaired(gateway, mail, written, mail_from):
    left = gateway()(mail(From=written), ["eve@example.org"], mail_from=mail_from)
    assert left.mail_from == "bot@example.com"
    assert [f.raw for f in left.fields("From")] == [b"From: Harbour <bot@example.com>\r\n"]


def test_a_report_and_an_automatic_reply_keep_the_null_path(gateway, mail):
    for fields in ({"Auto_Submitted": "auto-replied"}, {"Content_Type": 'multipart/report; boundary="x"'}):
        assert gateway()(mail(**fields), ["eve@example.org"], mail_from="").mail_from == ""


def test_null_path_of_unrecognised_mail_stays(gateway):
    raw = b"From: x@example.org\r\nSubject: hi\r\n\r\nhello\r\n"
    assert gateway()(raw, ["eve@example.org"], mail_from="").mail_from == ""


def test_example_21_name_is_the_project(gateway, mail):
    left = gateway()(mail(), ["eve@example.org"])
    assert left.fields("From")[0].raw == b"From: Harbour <bot@example.com>\r\n"
    bare = gateway()(mail(drop=["X-Trac-Project"], From="h@t.example.com"), ["eve@example.org"])
    assert bare.fields("From")[0].raw == b"From: bot@example.com\r\n"


def test_example_22_specials_are_quoted(gateway, mail):
    left = gateway(smtp_from_name='Crew, "Night"')(mail(), ["eve@example.org"])
    assert left.fields("From")[0].raw == b'From: "Crew, \\"Night\\"" <bot@example.com>\r\n'


def test_example_23_encoded_word_outside_quotes(gateway, mail):
    raw = gateway(smtp_from_name="Équipe")(mail(), ["eve@example.org"]).fields("From")[0].raw
    assert b'"' not in raw
    word = raw.removeprefix(b"From: ").removesuffix(b" <bot@example.com>\r\n").decode("ascii")
    assert word.count("=?") == 1
    assert encoded_word.decode(word) == "Équipe"


def test_quoted_encoded_word_of_old_trac_is_mended(gateway, mail):
    written = '"=?utf-8?b?SMOkZmVu?=" <bot@example.com>'
    left = gateway(smtp_from_name="Häfen")(mail(From=written), ["eve@example.org"])
    assert b'"' not in left.fields("From")[0].raw


def test_sender_goes_when_from_is_replaced_and_stays_when_not(gateway, mail):
    assert gateway()(mail(Sender="x@t.example.com"), ["e@example.org"]).fields("Sender") == []
    kept = gateway(from_="keep")(mail(Sender="x@t.example.com"), ["e@example.org"])
    assert [f.raw for f in kept.fields("Sender")] == [b"Sender: x@t.example.com\r\n"]
    assert kept.fields("From")[0].raw == b"From: Harbour <h@t.example.com>\r\n"
    assert kept.mail_from == "h@t.example.com"


def test_keep_repairs_a_from_without_an_address(gateway, mail):
    left = gateway(from_="keep")(mail(From="Harbour <>"), ["e@example.org"], mail_from="")
    assert left.fields("From")[0].raw == b"From: Harbour <bot@example.com>\r\n"
    assert left.mail_from == "bot@example.com"


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("#12: Crane jams", "[Harbour] #12: Crane jams"),
        ("Re: #12: x", "Re: [Harbour] #12: x"),
        ("RE: re: #12: x", "RE: re: [Harbour] #12: x"),
        ("Ready: #12", "[Harbour] Ready: #12"),
    ],
)
def test_examples_24_26_prefix_is_added_once_behind_reply_marks(gateway, mail, subject, expected):
    relay = gateway()
    left = relay(mail(subject), ["e@example.org"])
    assert left.header("Subject") == expected
    again = relay(left.raw, ["e@example.org"])
    assert again.fields("Subject") == left.fields("Subject")


@pytest.mark.parametrize(
    "subject", ["[Harbour] #12: Crane jams", "Re: [Harbour] #12: x", "Re:  re: [Harbour]  #12:   x"]
)
def test_examples_25_26_a_subject_that_has_it_keeps_its_bytes(gateway, mail, subject):
    left = gateway()(mail(subject), ["e@example.org"])
    assert [f.raw for f in left.fields("Subject")] == [f"Subject: {subject}\r\n".encode()]


def test_example_25_folded_and_empty_on_its_first_line(gateway, mail):
    subject = "\r\n [Harbour]\r\n #12: Crane jams"
    left = gateway()(mail(subject), ["e@example.org"])
    assert [f.raw for f in left.fields("Subject")] == [f"Subject: {subject}\r\n".encode()]


def test_example_27_empty_prefix(gateway, mail):
    left = gateway(smtp_subject_prefix="")(mail("#12:  Crane   jams"), ["e@example.org"])
    assert [f.raw for f in left.fields("Subject")] == [b"Subject: #12:  Crane   jams\r\n"]


def test_example_28_compared_decoded(gateway, mail):
    word = "=?utf-8?q?=5BH=C3=A4fen=5D_=2312=3A_x?="
    left = gateway(smtp_subject_prefix="[Häfen]")(mail(word), ["e@example.org"])
    assert [f.raw for f in left.fields("Subject")] == [f"Subject: {word}\r\n".encode()]


@pytest.mark.parametrize("subject", ["[Harbour] #12: {}", "#12: {}"])
def test_example_29_a_literal_encoded_word_keeps_its_zero_width_space(gateway, mail, subject):
    typed = "=?\u200butf-8?q?x?="
    word = encoded_word.encode(subject.format(typed), 9)
    left = gateway()(mail(word), ["e@example.org"])
    assert left.header("Subject") == f"[Harbour] #12: {typed}"


def test_another_prefix_is_replaced_only_when_it_is_the_projects(gateway, mail):
    relay = gateway(smtp_subject_prefix="[Crew]")
    assert relay(mail("Re: [Harbour] #12: x"), ["e@example.org"]).header("Subject") == "Re: [Crew] #12: x"
    assert relay(mail("[Other] #12: x"), ["e@example.org"]).header("Subject") == "[Crew] [Other] #12: x"


def test_default_prefix_without_a_project_is_no_prefix_and_a_warning(gateway, mail):
    left = gateway()(mail("#12: x", drop=["X-Trac-Project"]), ["e@example.org"])
    assert left.header("Subject") == "#12: x"
    assert any(note.warning and note.rule == "subject_prefix" for note in left.prepared.notes)
    named = gateway(project_name="Docks")(mail("#12: x", drop=["X-Trac-Project"]), ["e@example.org"])
    assert named.header("Subject") == "[Docks] #12: x"


def test_message_ids_without_a_host_are_repaired_alike(gateway, mail):
    raw = mail(Message_ID="<1.a@>", In_Reply_To="<0.b@>", References="<0.b@> <0.c@t.example.com>")
    left = gateway()(raw, ["e@example.org"])
    assert left.header("Message-ID") == "<1.a@example.com>"
    assert left.header("In-Reply-To") == "<0.b@example.com>"
    assert left.header("References") == "<0.b@example.com> <0.c@t.example.com>"


def test_missing_fields_are_added_and_present_ones_kept(gateway, mail):
    left = gateway()(mail(drop=["Date", "Message-ID", "Precedence", "Auto-Submitted"]), ["e@example.org"])
    assert left.header("Date") == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert left.header("Message-ID") == "<1hf7yat00000005@example.com>"
    assert left.header("Precedence") == "bulk"
    assert left.header("Auto-Submitted") == "auto-generated"
    kept = gateway()(mail(Precedence="list", Message_ID="<x@trac>"), ["e@example.org"])
    assert kept.header("Precedence") == "list"
    assert kept.header("Message-ID") == "<x@trac>"


def test_received_names_no_recipient(gateway, mail):
    left = gateway()(mail(), ["e@example.org"])
    received = left.fields("Received")[0].text
    assert received == (
        "from tracker.example.com ([127.0.0.1]) by gw.example.com (tracker-relay) with ESMTP id 1hf7yat00000005;"
        " Tue, 14 Nov 2023 22:13:20 +0000"
    )
