"""The rules about header fields, beyond the numbered examples: odd subjects, several authors, answers, ids."""

import unicodedata

import pytest

from relay import encoded_word
from relay.charsets import CODECS, known
from relay.message import parse_bytes
from tests.gateway import Gateway, harbour

TO = ["eve@example.org"]
ROUNDUP = {"X_Roundup_Name": "Orchard", "drop": ["X-Trac-Project", "X-Trac-Version", "X-Trac-Ticket-ID"]}


def subject_of(raw, **options):
    left = Gateway(**options)(raw, TO)
    again = Gateway(**options)(left.raw, left.rcpt)
    assert again.fields("Subject") == left.fields("Subject")
    return left.header("Subject")


# --- Subject ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_prefix_is_the_same_in_either_normal_form(form):
    subject = unicodedata.normalize(form, "[Häfen] #12: x")
    for prefix in ("NFC", "NFD"):
        assert subject_of(harbour(subject), smtp_subject_prefix=unicodedata.normalize(prefix, "[Häfen]")) == subject


@pytest.mark.parametrize(
    "project", ["=?utf-8?q?a=0D=0AX-Injected=3A_1?=", "=?utf-8?q?a=0Bb=00c?=", "=?utf-8?q?a=C2=85b?="]
)
def test_a_project_with_control_characters_is_one_line_put_once(project):
    raw = harbour("#12: x", X_Trac_Project=project)
    text = subject_of(raw)
    assert text.count("[") == 1
    left = Gateway()(raw, TO)
    names = [field.name for field in parse_bytes(left.raw).fields]
    assert "x-injected" not in names
    assert names == [field.name for field in left.mail.message.fields]


@pytest.mark.parametrize("octets", [b"Orchar\xed\xa0\x80d", b"=?utf-8?q?a=C2=A0=C2=80b?=", b"a\xa0\x81\x82b"])
def test_a_project_with_odd_blanks_is_written_once(octets):
    """Found by fuzzing: a control character beside a blank became a second one, and the second gateway wrote From anew."""
    raw = harbour("#12: x", X_Trac_Project="PROJECT").replace(b"PROJECT", octets)
    left = Gateway()(raw, TO)
    assert Gateway()(left.raw, left.rcpt, mail_from=left.mail_from).raw == left.raw


@pytest.mark.parametrize("word", ["=?x-private?b?gqA=?=", "=?utf-7?q?+AOk-?=", "=?utf-8?b?w6k==?= =?x-private?q?=82?="])
def test_words_that_only_the_reader_knows_stay_as_they_are(word):
    left = Gateway()(harbour(f"Re: #12: {word} x"), TO)
    assert left.fields("Subject")[0].raw == f"Subject: Re: [Harbour] #12: {word} x\r\n".encode()
    assert subject_of(harbour(f"Re: #12: {word} x"))
    assert word in Gateway(smtp_subject_prefix="[Häfen]")(harbour(f"#12: {word}"), TO).fields("Subject")[0].text


def test_a_blank_stays_between_a_prefix_and_a_word_that_nobody_reads():
    """Between two encoded words a blank is none (RFC 2047 6.2), and `éé` would not begin with the prefix `é`."""
    subject = subject_of(harbour("=?utf-8?b?w6k=?=Re: =?x-private?q?x?="), smtp_subject_prefix="é")
    assert subject.startswith("é é")


@pytest.mark.parametrize(
    ("subject", "prefix", "expected"),
    [
        ("Re: x", "Re: x", "Re: x"),
        ("Re: Re: x y", "Re: x", "Re: Re: x y"),
        ("Re: #12", "Re: x", "Re: Re: x #12"),
        ("Crewmen", "Crew", "Crew Crewmen"),
        ("[harbour] #12: x", "__default__", "[Harbour] [harbour] #12: x"),
        ("", "__default__", "[Harbour]"),
        ("Re:", "__default__", "Re: [Harbour]"),
        ("[Harbour]", "__default__", "[Harbour]"),
        ("=?utf-8?q?=5BHar?= =?utf-8?q?bour=5D_x?=", "__default__", "[Harbour] x"),
    ],
)
def test_where_the_prefix_goes(subject, prefix, expected):
    assert subject_of(harbour(subject), smtp_subject_prefix=prefix) == expected


# --- who it is from --------------------------------------------------------------------------------------


def test_keep_lets_several_authors_stand():
    raw = harbour(From="a@t.example.com, B <b@t.example.com>", Sender="c@t.example.com")
    left = Gateway(from_="keep")(raw, TO)
    assert left.fields("From")[0].raw == b"From: a@t.example.com, B <b@t.example.com>\r\n"
    assert left.fields("Sender") != []
    assert left.mail_from == "h@t.example.com"


@pytest.mark.parametrize(
    ("mail_from", "extra", "expected"),
    [
        ("admin@t.example.com", {}, "h@t.example.com"),
        ("", {}, "bot@example.com"),
        ("Harbour", {}, "h@t.example.com"),
        ("", {"Auto_Submitted": "auto-replied"}, ""),
        ("", {"From": "a@t.example.com, b@t.example.com"}, "bot@example.com"),
    ],
)
def test_keep_sends_in_the_name_of_the_from_that_stays(mail_from, extra, expected):
    assert Gateway(from_="keep")(harbour(**extra), TO, mail_from=mail_from).mail_from == expected


@pytest.mark.parametrize("written", ["a@x, Harbour", "a@x)b@y", "<@r1:u@c>", "Team: ;"])
def test_keep_replaces_a_from_that_is_none(written):
    assert Gateway(from_="keep")(harbour(From=written), TO).addresses("From") == ["bot@example.com"]


def test_a_local_part_in_another_charset_is_no_address():
    """Found by fuzzing: the envelope said áperson, and what the header could be written as, ?person."""
    latin = (
        harbour(From="áperson@t.example.com", Reply_To="é@t.example.com")
        .replace("á".encode(), b"\xe1")
        .replace("é".encode(), b"\xe9")
    )
    left = Gateway(from_="keep")(latin, TO)
    assert (left.addresses("From"), left.fields("Reply-To"), left.mail_from) == (
        ["bot@example.com"],
        [],
        "bot@example.com",
    )
    named = harbour(From="á person <h@t.example.com>").replace("á".encode(), b"\xe1")
    left = Gateway(from_="keep")(named, TO)
    assert (left.header("From"), left.mail_from) == ("á person <h@t.example.com>", "h@t.example.com")
    assert Gateway(from_="keep")(harbour(From="áperson@t.example.com"), TO).mail_from == "áperson@t.example.com"


def test_two_from_fields_become_one():
    raw = harbour().replace(b"From:", b"From: evil@example.net\r\nFrom:")
    for options in ({}, {"from_": "keep"}):
        assert Gateway(**options)(raw, TO).addresses("From") == ["bot@example.com"]


def test_the_history_says_who_it_is_from_with_and_without_a_name():
    def said(**options):
        return [note.text for note in Gateway(**options)(harbour(), TO).prepared.notes if note.rule == "originator"]

    assert said() == ["From is Harbour <bot@example.com>"]
    nameless = Gateway()(harbour(drop=["X-Trac-Project"]), TO).prepared.notes
    assert [note.text for note in nameless if note.rule == "originator"] == ["From is bot@example.com"]


# --- where answers go ------------------------------------------------------------------------------------


def test_only_the_reply_to_without_an_address_goes():
    raw = harbour(Reply_To="<>").replace(b"Reply-To:", b"Reply-To:  r@t.example.com\r\nReply-To:")
    assert [f.raw for f in Gateway()(raw, TO).fields("Reply-To")] == [b"Reply-To:  r@t.example.com\r\n"]


def test_the_answered_from_names_no_hidden_recipient():
    raw = harbour(**ROUNDUP, From="Dana <dana@example.com>")
    assert Gateway()(raw, TO).addresses("Reply-To") == ["dana@example.com"]
    hidden = Gateway()(raw, ["dana@example.com", "eve@example.org"])
    assert hidden.fields("Reply-To") == []
    assert b"dana@" not in hidden.named


# --- ids -------------------------------------------------------------------------------------------------


def test_ids_are_repaired_where_they_stand_and_nowhere_else():
    raw = harbour(
        Message_ID="\r\n <1@>", References="<a@>\r\n\t<b@t.example.com>\r\n <c@>", X_Note="<d@>", In_Reply_To="(x) <a@>"
    )
    left = Gateway()(raw, TO)
    assert left.fields("Message-ID")[0].raw == b"Message-ID: \r\n <1@example.com>\r\n"
    assert (
        left.fields("References")[0].raw
        == b"References: <a@example.com>\r\n\t<b@t.example.com>\r\n <c@example.com>\r\n"
    )
    assert left.fields("In-Reply-To")[0].raw == b"In-Reply-To: (x) <a@example.com>\r\n"
    assert left.header("X-Note") == "<d@>"


# --- charsets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CODECS)
def test_every_charset_that_is_read_reads_any_octets(name):
    octets = bytes(range(256)) * 2
    assert octets.decode(known(name), "replace")
    for octet in range(256):
        encoded_word.decode(f"=?{name}?q?={octet:02X}=1B=24?=")


@pytest.mark.parametrize(
    "name",
    [
        "undefined",
        "idna",
        "rot13",
        "hex_codec",
        "unicode_escape",
        "utf-16",
        "iso-8859-12",
        "iso8859-99",
        "punycode",
        "",
    ],
)
def test_other_names_are_no_charsets(name):
    assert known(name) == ""
    assert encoded_word.decode(f"=?{name}?q?x?=") == f"=?{name}?q?x?="


def test_a_name_of_which_nothing_can_be_seen_is_none():
    left = Gateway(smtp_from_name="\x1b")(harbour(), TO)
    assert left.fields("From")[0].raw == b"From: Harbour <bot@example.com>\r\n"


@pytest.mark.parametrize("name", ["é", "é" * 20, "é" * 40, "日本語のプロジェクト" * 9])
def test_no_line_with_an_encoded_word_is_over_76_columns(name):
    sender = "a.very.long.local.part.indeed+tag@a.very.long.domain.example.org"
    raw = Gateway(smtp_from_name=name, smtp_from=sender)(harbour(), TO).fields("From")[0].raw
    assert all(len(line) <= 76 for line in raw.split(b"\r\n") if b"=?" in line)
    assert raw.count(b"<") == 1


# --- signatures of others --------------------------------------------------------------------------------


def test_a_dkim_signature_stays_and_so_does_the_body_it_covers_where_nothing_needs_to_change():
    """A verifier ignores a signature that fits no more (RFC 6376 6.1): taking it away is no rule's business."""
    signature = "v=1; a=rsa-sha256; d=t.example.com; s=x; h=from:\r\n\tsubject; bh=abc=;\r\n\tb=def=="
    raw = harbour(DKIM_Signature=signature, body="The crane jams.  \r\n\r\n\r\n")
    for encoding in ("auto", "none", "keep"):
        left = Gateway(mime_encoding=encoding)(raw, TO)
        assert left.fields("DKIM-Signature")[0].raw == f"DKIM-Signature: {signature}\r\n".encode()
        assert left.raw.partition(b"\r\n\r\n")[2] == raw.partition(b"\r\n\r\n")[2]
