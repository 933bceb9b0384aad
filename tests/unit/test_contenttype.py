"""Content-Type as real and hostile mail writes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.contenttype import MAX_PARAMETERS, TooComplex, content_type, without_comments
from relay.message import Field


def read(value):
    return content_type([Field(f"Content-Type: {value}\r\n".encode())])


@pytest.mark.parametrize(
    ("value", "kind", "parameters"),
    [
        ("text/plain", "text/plain", {}),
        ("TEXT/Plain; Charset=UTF-8", "text/plain", {"charset": "UTF-8"}),
        ("text / html ;charset = utf-8 ", "text/html", {"charset": "utf-8"}),
        ('multipart/mixed; boundary="a;b\\"c"', "multipart/mixed", {"boundary": 'a;b"c'}),
        ('multipart/mixed; boundary="a(b)c"', "multipart/mixed", {"boundary": "a(b)c"}),
        ("text/plain (it's \"plain); charset=utf-8", "text/plain", {"charset": "utf-8"}),
        ("text/plain (a (nested) one); (x) charset (y) = (z) utf-8 (w)", "text/plain", {"charset": "utf-8"}),
        ("\u00a0text/plain", "", {}),
        ("text/plain;\u00a0charset=utf-8", "text/plain", {"\u00a0charset": "utf-8"}),
        ("text/plain; bogus; name=x.txt", "text/plain", {"name": "x.txt"}),
        ("text/plain;; ;charset=utf-8;", "text/plain", {"charset": "utf-8"}),
        ('text/plain; "junk; name=x"; charset=utf-8', "text/plain", {"charset": "utf-8"}),
        ("multipart/mixed; boundary*=us-ascii''a%20b", "multipart/mixed", {"boundary": "a b"}),
        ('multipart/mixed; boundary*0="ab"; boundary*1=cd', "multipart/mixed", {"boundary": "abcd"}),
        ("multipart/mixed; boundary*1*=%63d; boundary*0*=utf-8''ab", "multipart/mixed", {"boundary": "abcd"}),
        ("multipart/mixed; boundary*1=cd", "multipart/mixed", {"boundary": ""}),
        ("multipart/mixed; boundary*0=a; boundary*0=b", "multipart/mixed", {"boundary": ""}),
        ("multipart/mixed; boundary*=rot13''n", "multipart/mixed", {"boundary": ""}),
        ("multipart/mixed; boundary=a; boundary=b", "multipart/mixed", {"boundary": ""}),
        ('multipart/mixed; boundary="a"{}', "multipart/mixed", {"boundary": ""}),
        ('multipart/mixed; boundary=a"b"', "multipart/mixed", {"boundary": ""}),
        ('text/plain; name="a"b; charset=utf-8', "text/plain", {"name": "a", "charset": "utf-8"}),
        ("text/plain; charset=a; charset=b", "text/plain", {"charset": "a"}),
        ("text/plain; name=plain; name*=utf-8''%C3%A9", "text/plain", {"name": "é"}),
        ("multipart/mixed; boundary=a; boundary*=us-ascii''b", "multipart/mixed", {"boundary": ""}),
        ("text/plain; name*0*=utf-8''%C3%A9; name*1=.txt", "text/plain", {"name": "é.txt"}),
        ('text/plain; name="open', "text/plain", {"name": "open"}),
        ("text", "text/plain", {}),
        (" Text ; charset=utf-8", "text/plain", {"charset": "utf-8"}),
        ("", "text/plain", {}),
        ("textual", "", {}),
        ("text plain", "", {}),
        ("/plain", "", {}),
        ("text/", "", {}),
    ],
)
def test_what_is_read(value, kind, parameters):
    found = read(value)
    assert (found.kind, found.parameters) == (kind, parameters)


def test_two_fields_and_none():
    field = Field(b"Content-Type: text/html\r\n")
    assert content_type([field, Field(b"Content-Type: text/plain\r\n")]).kind == ""
    assert content_type([field, Field(b"content-type:text/html \r\n")]).kind == "text/html"
    assert content_type([]).kind == "text/plain"
    assert content_type([], "message/rfc822").kind == "message/rfc822"


def test_too_many_parameters():
    many = "".join(f"; a{n}=b" for n in range(MAX_PARAMETERS + 1))
    for value in (f"text/plain{many}", "text/plain" + "".join(f"; a*{n}=b" for n in range(MAX_PARAMETERS + 2))):
        with pytest.raises(TooComplex):
            read(value)
    assert len(read("text/plain" + many.rpartition(";")[0]).parameters) == MAX_PARAMETERS


@given(st.text(st.sampled_from("ab();=\"\\ *0'%/,"), max_size=60))
def test_reading_never_fails(text):
    read("text/plain; " + text)
    without_comments(text)
