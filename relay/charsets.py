"""Charsets: which codec reads text in a charset that a mail names.

Only those on this list are decoded. Python knows others under the same kind of name that fail, run
away or are no charsets at all (undefined, idna, rot13, hex; library-traps, email package).
"""

import codecs

_SAME = """
    utf-8 utf8 us-ascii ascii latin-1 latin1 koi8-r koi8-u tis-620 cp874 cp437 cp850 cp852 cp866 mac-roman
    shift-jis sjis cp932 euc-jp iso-2022-jp iso-2022-jp-1 iso-2022-jp-2 iso-2022-jp-3 iso-2022-jp-ext
    gb18030 hz-gb-2312 big5 big5-hkscs euc-kr cp949 johab iso-2022-kr
"""
_OTHER = {
    "ks_c_5601-1987": "cp949",
    "shift_jis": "cp932",
    "windows-31j": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "windows-874": "cp874",
    "macintosh": "mac-roman",
    "iso-8859-8-i": "iso8859-8",
}
"""Names whose codec is a superset, since mail that says the one often holds the other."""

CODECS = {name: name for name in _SAME.split()} | _OTHER
CODECS |= {
    f"{iso}{n}": f"iso8859-{n}"
    for iso in ("iso-8859-", "iso8859-", "iso_8859-")
    for n in (*range(1, 12), *range(13, 17))
}
CODECS |= {f"{windows}{n}": f"cp{n}" for windows in ("windows-", "cp") for n in range(1250, 1259)}
"""Every charset that is read, in lower case."""


def known(name: str) -> str:
    """Python's codec for a charset of mail (a language behind `*` is no part of it); "" for any other name."""
    return CODECS.get(name.lower().partition("*")[0].strip(), "")


def read(octets: bytes, name: str, *, cut: bool = False) -> str:
    """Octets as text; never fails. `cut`: more of them follow, so a letter at the end may be half.

    Under no name, or one that says nothing, they are UTF-8 where they can be, else Latin-1: so they read the same
    once we have named them unknown-8bit (RFC 1428).
    """
    codec = known(name)
    if not codec:
        try:
            codecs.getincrementaldecoder("utf-8")().decode(octets, final=not cut)
        except UnicodeDecodeError:
            codec = "latin-1"
    try:
        return octets.decode(codec or "utf-8", "replace")
    except LookupError:
        return octets.decode("latin-1")
