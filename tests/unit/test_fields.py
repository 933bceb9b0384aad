"""Header fields made fit for the wire: ASCII where it can be, short lines, the same text."""

import email
import email.policy
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import encoded_word, mailboxes
from relay.fields import Unfit, fit, without_utf8
from relay.message import Field


def fitted(raw):
    field = Field(raw.encode() if isinstance(raw, str) else raw)
    made = fit(field)
    assert fit(made) is made
    assert made.name == field.name
    assert re.fullmatch(rb"[!-9;-~]+: [^\r\n]*(\r\n[ \t][^\r\n]*)*\r\n", made.raw)
    assert all(len(line) <= 998 and line.strip() for line in made.raw[:-2].split(b"\r\n"))
    return made


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: x\r\n",
        b"Subject:x\r\n\ty  \r\n",
        b"Subject :  \r\n",
        b"X:\r\n",
        b"To: a@b,\r\n\tc@d\r\n",
        b"X: =?utf-8?q?" + b"x" * 400 + b"?=\r\n",
    ],
)
def test_what_is_fit_stays_itself(raw):
    field = Field(raw)
    assert fit(field) is field


@pytest.mark.parametrize(
    ("raw", "made"),
    [
        ("Subject: Häfen", "Subject: {Häfen}"),
        (b"Subject: H\xe4fen\r\n", "Subject: {Häfen}"),
        ("To: Zoë <a@b>, c@d", "To: {Zoë} <a@b>, c@d"),
        ('To: "Zoë, F." <a@b>', "To: {Zoë, F.} <a@b>"),
        (b"To: Zo\xeb <a@b>\r\n", "To: {Zoë} <a@b>"),
        ("To: Häfen: a@b, c@d;, e@f", "To: {Häfen}: a@b, c@d;, e@f"),
        ("To: Häfen:;", "To: {Häfen}:;"),
        ("To: nobody:\xa0;", "To: nobody: ;"),
        ("To: \xa0<a@b>,\u3000c@d", "To: <a@b>, c@d"),
        ("To: a@münchen.example", "To: a@xn--mnchen-3ya.example"),
        ("To: <a@münchen.example>, x@y", "To: <a@xn--mnchen-3ya.example>, x@y"),
        ("To: zoë@münchen.example", "To: zoë@xn--mnchen-3ya.example"),
        ("Cc: a@b (Zoë (the one)), c@d", "Cc: a@b ({Zoë (the one)}), c@d"),
        ("Sender: Zoë", "Sender: {Zoë}"),
        ("Date: Tue, 14 Nov 2023 22:13:20 +0100 (Mitteleuropäische Zeit)", "Date: Tue, 14 Nov 2023 22:13:20 +0100\r\n ({Mitteleuropäische Zeit})"),
        ("Received: from hä (x [1.2.3.4]) by y; z", "Received: from h? (x [1.2.3.4]) by y; z"),
        ("Message-ID: <hä@b>", "Message-ID: <hä@b>"),
        (b"Message-ID: <h\xe4@b>\r\n", "Message-ID: <h?@b>"),
        ("List-Id: Häfen <haefen.example.org>", "List-Id: {Häfen} <haefen.example.org>"),
        ("List-Unsubscribe: <https://x.example/ä>", "List-Unsubscribe: <https://x.example/%C3%A4>"),
        ("Content-Type: text/plain; charset=utf-8; name=\"Ü b.txt\"", "Content-Type: text/plain; charset=utf-8; name*=utf-8''%C3%9C%20b.txt"),
        ("Content-Disposition: attachment; filename=\"a\\\"ü\"; x=y", "Content-Disposition: attachment; filename*=utf-8''a%22%C3%BC; x=y"),
        ('Content-Type: text/plain; x="; name=ü"', "Content-Type: text/plain; x*=utf-8''%3B%20name%3D%C3%BC"),
    ],
)  # fmt: skip
def test_ascii_where_it_can_be(raw, made):
    made = re.sub(r"\{(.*?)\}", lambda text: encoded_word.encode_phrase(text[1], 2), made)
    assert fitted(raw if isinstance(raw, bytes) else raw + "\r\n").raw.decode() == made + "\r\n"


@pytest.mark.parametrize(
    ("raw", "made"),
    [
        ("Cc: zoë@example.org, a@b", "Cc: {zoë@example.org}:;, a@b"),
        ("To: Zoë <zoë@example.org>", "To: {zoë@example.org}:;"),
        ("To: a@b", "To: a@b"),
        ("From: zoë@example.org", "From: zoë@example.org"),
        ("Message-ID: <ä@b>", "Message-ID: <ä@b>"),
        ("To: zoë", "To: {zoë}:;"),
        ("To: ä b", "To: ä b"),
    ],
)
def test_recipients_for_a_hop_without_smtputf8(raw, made):
    made = re.sub(r"\{(.*?)\}", lambda text: encoded_word.encode_phrase(text[1], 2), made)
    assert without_utf8(Field(f"{raw}\r\n".encode())).raw.decode() == made + "\r\n"


def test_a_long_file_name_goes_in_pieces():
    name = "日本語のファイル" * 40 + ".txt"
    made = fitted(f'Content-Disposition: attachment; filename="{name}"\r\n')
    assert max(map(len, made.raw.split(b"\r\n"))) <= 80
    assert email.message_from_bytes(made.raw + b"\r\n").get_filename() == name


@pytest.mark.parametrize(
    "text",
    [
        "crane " * 400,
        "x " + "y" * 990,
        "a" + " " * 2000 + "b",
        "x" * 3000,
        " " * 1500 + "x",
        "=?utf-8?q?" + "=C3=A9" * 400 + "?=",
    ],
)
def test_long_unstructured_fields_keep_their_text(text):
    made = fitted(f"X-Note: {text}\r\n")
    assert encoded_word.decode(made.text) == encoded_word.decode(text).strip()


@pytest.mark.parametrize(
    "raw",
    [
        "References: <" + "x" * 1200 + "@y>\r\n",
        'To: "' + "a," * 600 + '"\r\n',
        "DKIM-Signature: b=" + "-" * 1200 + "\r\n",
        "Content-Type: text/plain; name=" + "x" * 1200 + "\r\n",
        "X" * 1000 + ": y\r\n",
        "X" * 990 + ": é\r\n",
        "X" * 990 + ": " + "y" * 50 + "\r\n",
    ],
)
def test_what_can_not_be_made_fit_is_said(raw):
    with pytest.raises(Unfit, match="can not be folded"):
        fit(Field(raw.encode()))


LETTERS = st.text(st.sampled_from("aZ0é日 \t,;:<>()\"\\@.[]=?%'*_-"), max_size=120)
NAMES = st.sampled_from(["To", "Subject", "Received", "Message-ID", "Content-Type", "List-Id", "List-Post", "X-Odd"])


@given(NAMES, LETTERS)
def test_any_field_becomes_one_fit_field(name, text):
    raw = f"{name}: {text}\r\n"
    try:
        made = fit(Field(raw.encode()))
    except Unfit:
        return
    assert fit(made).raw == made.raw
    [(found, _)] = email.message_from_bytes(made.raw + b"\r\n", policy=email.policy.compat32).items()
    assert found == name
    if name == "To":
        before, after = (
            [b.address.key for b in mailboxes.read(t) if b.address and b.address.domain] for t in (text, made.text)
        )
        assert [key for key in after if key in before] == after


@given(st.lists(st.text(st.sampled_from('aé "\\,(.-'), min_size=1, max_size=30), min_size=1, max_size=5))
def test_display_names_keep_their_text(names):
    shown = [" ".join(encoded_word.clean(name).split()) for name in names]
    value = ", ".join(
        '"' + name.replace("\\", "\\\\").replace('"', '\\"') + f'" <a{n}@b.example>' for n, name in enumerate(shown)
    )
    made = fit(Field(f"To: {value}\r\n".encode()))
    boxes = mailboxes.read(made.text)
    assert [box.display for box in boxes] == shown
    assert [str(box.address) for box in boxes] == [f"a{n}@b.example" for n in range(len(names))]


def test_quotes_without_an_end_take_all_that_follows():
    """As `mailboxes` and `contenttype` read them: what stands outside ASCII becomes what it would be within them."""
    made = fitted('Content-Disposition: attachment; filename="é; x=(ö)\r\n')
    assert made.raw == b"Content-Disposition: attachment;\r\n filename*=utf-8''%C3%A9%3B%20x%3D%28%C3%B6%29\r\n"
    assert fitted('To: a@b.example, "é (ö)\r\n').raw.isascii()
