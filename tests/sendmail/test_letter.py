"""Lines, recipients and From: what becomes of a local program's mail before the relay sees it."""

import re
import tempfile
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.address import parse
from relay.message import parse_bytes
from relay.sendmail import intake, letter
from relay.sendmail.arguments import UsageError
from relay.sendmail.letter import LetterError
from relay.sendmail.lines import Lines
from relay.sendmail.submission import stuffed


def lines(*chunks, dot_ends=False):
    one = Lines(dot_ends=dot_ends)
    return b"".join(one.feed(chunk) for chunk in chunks) + one.end()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\r\r\nb\n", b"a\r\nb\r\n"),
        (b"a\nb", b"a\r\nb\r\n"),
        (b"a\nb\r", b"a\r\nb\r\n"),
        (b"10%\r20%\r\n", b"10% 20%\r\n"),
        (b"a\0b\n", b"a\0b\r\n"),
        (b"\n\n", b"\r\n\r\n"),
        (b"", b""),
        (b".\nb\n", b".\r\nb\r\n"),
    ],
)
def test_lines_of_every_kind(written, read):
    assert lines(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"a\n.\nb\n", b"a\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n"),
        (b".\nb\n", b""),
        (b"a\n.", b"a\r\n"),
        (b"a\n..\n.b\n", b"a\r\n..\r\n.b\r\n"),
        (b"a.\nb\n", b"a.\r\nb\r\n"),
    ],
)
def test_a_single_dot_ends_it(written, read):
    assert lines(written, dot_ends=True) == read


octets = st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\n.\n", b"\r\n.\r\n"]), max_size=12)


@given(octets, st.booleans())
@example([b"a", b"\r", b"\r\n"], False)
@example([b"\n", b".", b"\r\n"], True)
def test_where_the_pieces_are_cut_does_not_matter(parts, dot_ends):
    whole = b"".join(parts)
    wanted = lines(whole, dot_ends=dot_ends)
    assert lines(*parts, dot_ends=dot_ends) == wanted
    assert lines(*(bytes([octet]) for octet in whole), dot_ends=dot_ends) == wanted
    assert re.sub(rb"\r\n", b"", wanted).count(b"\r") == 0
    assert wanted.count(b"\n") == wanted.count(b"\r\n")
    assert not wanted or wanted.endswith(b"\r\n")


def test_a_dot_that_begins_a_piece_begins_no_line():
    written = b"x" * 100_000 + b".\nb\n"
    assert lines(written[:100_000], written[100_000:], dot_ends=True) == written.replace(b"\n", b"\r\n")


@pytest.mark.parametrize("octet", [b"x", b"\r"])
def test_a_line_without_end_is_not_held_in_memory(octet):
    one = Lines(dot_ends=False)
    given_, longest = 0, 0
    for _ in range(100):
        given_ += len(one.feed(octet * 65536))
        longest = max(longest, len(one._carry))
    assert longest <= 4 * 65536
    assert octet == b"\r" or given_ > 95 * 65536


@given(octets, octets)
def test_stuffing_is_what_the_listener_takes_back(first, second):
    pieces = [lines(b"".join(first)), lines(b"".join(second))]
    whole = b"".join(pieces)
    sent = b"".join(stuffed(piece for piece in pieces if piece))
    assert b"\r\n.\r\n" not in b"\r\n" + sent
    assert re.sub(rb"(?m)^\.", b"", sent) == whole


def message(text):
    return parse_bytes(text.replace("\n", "\r\n").encode())


@pytest.mark.parametrize(
    ("words", "paths"),
    [
        (["root", "dana@example.com"], ["root", "dana@example.com"]),
        (["a@example.org, b@example.org c@example.org"], ["a@example.org", "b@example.org", "c@example.org"]),
        (["a@example.org, x y"], ["a@example.org", "x y (no address)"]),
        (["a@example.org b@example.org"], ["a@example.org", "b@example.org"]),
        (["a@example.org, b@example.org"], ["a@example.org", "b@example.org"]),
        (["Dana Field <dana@example.com>"], ["dana@example.com"]),
        (['"a b"@example.org'], ['"a b"@example.org']),
        (["Müller@example.org"], ["Müller@example.org"]),
        (["dana field"], ["dana field (no address)"]),
        ([""], []),
    ],
)
def test_recipients_of_the_command_line(words, paths):
    assert letter.from_arguments(words) == paths


@pytest.mark.parametrize(
    ("header", "paths"),
    [
        ("To: a@example.org\nCc: B <b@example.org>,\n c@example.org\nBcc: d@example.org\n", "a b c d"),
        ("To: undisclosed-recipients: ;\nBcc: a@example.org\n", "a"),
        ("To: a@example.org\nTo: b@example.org\nbcc : c@example.org\n", "a b c"),
        ("To: a@example.org\nResent-To: b@example.org\nResent-Bcc: c@example.org\n", "b c"),
        ("To: a@example.org\nResent-Date: today\n", ""),
        ("Subject: nobody\n", ""),
    ],
)
def test_recipients_of_the_header(header, paths):
    assert letter.from_header(message(header + "\nTo: body@example.org\n")) == [
        f"{p}@example.org" for p in paths.split()
    ]


@pytest.mark.parametrize(
    "text",
    [
        '"a@example.org" <b c>',
        '"a@example.org> " <b c>',
        "=?utf-8?q?a=40example.org=0D=0ARCPT_TO=3A=3Cx=40example.org=3E?= <b c>",
        '"\\"a b\\"@example.org" <b c>',
        "a@example.org x",
        "<a@example.org",
        "a@example.org)b@example.org",
    ],
)
def test_what_is_no_address_is_never_taken_for_one(text):
    """The relay is asked about it, so that its refusal stands in the history; it must be a refusal."""
    [path] = letter.from_header(message(f"To: {text}\n\n"))
    assert path.endswith(" (no address)")
    assert path.isprintable()
    from relay.address import AddressError, parse_path

    try:
        _, rest = parse_path(b"<" + path.encode() + b">")
    except AddressError:
        return
    assert rest


def test_a_control_character_in_a_recipient_stops_it():
    with pytest.raises(LetterError, match="control character"):
        letter.from_arguments(["a@example.org\nRCPT TO:<b@example.org>"])


WHO = parse("dana@host.example.com")


def written(text, *, hide=False):
    return letter.header(message(text), WHO, "Dana Field", hide=hide).decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Subject: x\n\n", "Subject: x\nFrom: Dana Field <dana@host.example.com>\n\n"),
        ("\nbody", "From: Dana Field <dana@host.example.com>\n\n"),
        ("From: a@example.org\n\n", "From: a@example.org\n\n"),
        ("From: root (Cron Daemon)\n\n", "From: Cron Daemon <root@host.example.com>\n\n"),
        ("From: root (=?utf-8?q?J=C3=B6rg?=)\n\n", "From: =?utf-8?b?SsO2cmc=?= <root@host.example.com>\n\n"),
        ("From: luc\n\n", "From: luc@host.example.com\n\n"),
        ("From: Harbour <>\n\n", "From: Harbour <>\n\n"),
        ("no header at all\nSubject: x\n\n", "From: Dana Field <dana@host.example.com>\n\n"),
    ],
)
def test_from(before, after):
    assert written(before) == after


def test_bcc_is_hidden_by_t_alone():
    text = "From: a@example.org\nBcc: b@example.org\nResent-Bcc: c@example.org\n\n"
    assert written(text) == text
    assert written(text, hide=True) == "From: a@example.org\n\n"


def test_the_line_of_a_mailbox_file_goes():
    assert letter.without_mbox_line(b"From dana Mon\r\n>From luc Tue\r\nFrom: x\r\n") == b"From: x\r\n"
    assert letter.without_mbox_line(b"Subject: x\r\nFrom dana\r\n") == b"Subject: x\r\nFrom dana\r\n"


def test_a_mail_of_such_lines_takes_linear_time():
    began = time.thread_time()
    assert letter.without_mbox_line(b"From \n" * (intake.HEAD // 6)) == b""
    assert time.thread_time() - began < 1


def test_a_mail_without_end_is_not_taken_down_for_ever(monkeypatch):
    monkeypatch.setattr(intake, "MOST", 100_000)
    for octets, taken in ((100_000, True), (100_001, False)):
        with tempfile.TemporaryFile() as file:
            file.write(b"x" * octets)
            file.seek(0)
            if taken:
                assert len(intake.read(file.fileno(), dot_ends=True).head) == octets + 2
            else:
                with pytest.raises(intake.TooLarge, match="larger than 100000 octets"):
                    intake.read(file.fileno(), dot_ends=True)


@pytest.mark.parametrize(
    ("text", "address"), [("", None), ("<>", None), ("dana", "dana"), ("Dana <dana@example.com>", "dana@example.com")]
)
def test_the_sender(text, address):
    found = letter.sender(text)
    assert (None if found is None else str(found)) == address


@pytest.mark.parametrize("text", ["a b", "a@example.org, b@example.org", "a@example.org)b@example.org", "a\nb"])
def test_a_sender_that_is_no_address(text):
    with pytest.raises(UsageError, match="is no address"):
        letter.sender(text)


def test_full_names():
    assert letter.full_name("Dana Field,Quay 4,,", "dana") == "Dana Field"
    assert letter.full_name("& the Great", "dana") == "Dana the Great"
