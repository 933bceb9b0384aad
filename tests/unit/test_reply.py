"""Reply: its classes and its one printable line."""

import pytest

from relay.reply import Reply


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (250, "2.0.0 ok", Reply(250, "2.0.0", "ok")),
        (250, "ok", Reply(250, "", "ok")),
        (550, "5.1.1", Reply(550, "5.1.1", "")),
        (550, "4.1.1 wrong class", Reply(550, "", "4.1.1 wrong class")),
        (550, "5.1.1x", Reply(550, "", "5.1.1x")),
        (550, "5.7.26 no\n5.7.26 auth\nhelp", Reply(550, "5.7.26", "no\nauth\nhelp")),
        (550, "5.1.1 192.0.2.1 unknown", Reply(550, "5.1.1", "192.0.2.1 unknown")),
    ],
)
def test_read_splits_the_enhanced_status_code_off(code, text, expected):
    assert Reply.read(code, text) == expected


@pytest.mark.parametrize(
    ("code", "positive", "transient", "permanent"),
    [
        (200, True, False, False),
        (251, True, False, False),
        (299, True, False, False),
        (354, False, False, False),
        (400, False, True, False),
        (499, False, True, False),
        (500, False, False, True),
        (599, False, False, True),
        (600, False, False, False),
    ],
)
def test_classes_go_by_the_first_digit(code, positive, transient, permanent):
    reply = Reply(code, "", "")
    assert (reply.positive, reply.transient, reply.permanent) == (positive, transient, permanent)


@pytest.mark.parametrize(
    ("code", "status"), [(250, "2.0.0"), (451, "4.0.0"), (554, "5.0.0"), (0, "2.0.0"), (999, "5.0.0")]
)
def test_a_reply_without_status_has_its_classes_own(code, status):
    assert Reply(code, "", "").status_or_default == status
    assert Reply(code, "4.2.1", "").status_or_default == "4.2.1"


def test_the_printed_line_has_no_controls():
    assert str(Reply(550, "5.1.1", "no\nsuch\x1b[31m user\u2028 ")) == "550 5.1.1 no such [31m user"
    assert str(Reply(250, "", "")) == "250"
