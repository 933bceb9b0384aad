"""SASLprep (RFC 4013): user names and passwords in the one form that both sides compare."""

import stringprep
from unicodedata import ucd_3_2_0 as unicode_3_2

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str, *, stored: bool) -> str:
    """The prepared form of `text`. A stored string (a password, RFC 5802 2.2) holds no unassigned code point.

    Raises ValueError, which never shows the text, for what the profile prohibits.
    """
    mapped = (" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    prepared = unicode_3_2.normalize("NFKC", "".join(mapped))
    if any(prohibited(c) for prohibited in _PROHIBITED for c in prepared):
        raise ValueError("a character that SASLprep prohibits")
    if stored and any(stringprep.in_table_a1(c) for c in prepared):
        raise ValueError("a character that SASLprep does not know (newer than Unicode 3.2)")
    if any(map(stringprep.in_table_d1, prepared)):
        _right_to_left(prepared)
    return prepared


def _right_to_left(text: str) -> None:
    """RFC 3454 6: such text holds nothing written left to right, and begins and ends right to left."""
    if any(map(stringprep.in_table_d2, text)):
        raise ValueError("letters written left to right and right to left in one word")
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise ValueError("right-to-left text that does not begin and end so")
