"""The mechanisms of one or two words: PLAIN, LOGIN, CRAM-MD5, EXTERNAL, XOAUTH2, OAUTHBEARER."""

import hmac

from relay.auth.credentials import Channel, Credentials, Exchange, Unusable


def plain(who: Credentials, _channel: Channel) -> Exchange:
    """PLAIN (RFC 4616): no authorization identity, user, password; the server prepares them. Raises Unusable."""
    if "\0" in who.user or "\0" in who.password.reveal():
        raise Unusable("user or password holds a NUL, which AUTH PLAIN can not say")
    yield b"\0" + who.user.encode() + b"\0" + who.password.reveal().encode()


def login(who: Credentials, _channel: Channel) -> Exchange:
    """LOGIN (draft-murchison-sasl-login): user and password, each asked for by a challenge."""
    yield None
    yield who.user.encode()
    yield who.password.reveal().encode()


def cram_md5(who: Credentials, _channel: Channel) -> Exchange:
    """CRAM-MD5 (RFC 2195): user, and the challenge keyed with the password. Raises Unusable."""
    key = who.password.reveal().encode()
    try:
        hmac.digest(key, b"", "md5")
    except ValueError:
        raise Unusable("this system allows no MD5, which CRAM-MD5 is made of") from None
    challenge = yield None
    yield who.user.encode() + b" " + hmac.digest(key, challenge, "md5").hex().encode()


def external(who: Credentials, _channel: Channel) -> Exchange:
    """EXTERNAL (RFC 4422 A): TLS's client certificate says who we are; `user` as whom to act, may be empty."""
    if "\0" in who.user:
        raise Unusable("the user holds a NUL, which AUTH EXTERNAL can not say")
    yield who.user.encode()


def xoauth2(who: Credentials, _channel: Channel) -> Exchange:
    """XOAUTH2 (Google, Microsoft): user and token; a challenge is the error, answered by nothing at all."""
    yield f"user={_one_field(who.user)}\1auth=Bearer {_one_field(who.token.reveal())}\1\1".encode()
    yield b""


def oauthbearer(who: Credentials, channel: Channel) -> Exchange:
    """OAUTHBEARER (RFC 7628): as XOAUTH2, with the server's name and port; an error is answered by ^A (3.2.3)."""
    user = _one_field(who.user).replace("=", "=3D").replace(",", "=2C")
    place = f"host={_one_field(channel.host)}\1port={channel.port}"
    yield f"n,a={user},\1{place}\1auth=Bearer {_one_field(who.token.reveal())}\1\1".encode()
    yield b"\1"


def _one_field(text: str) -> str:
    """As it stands. Raises Unusable for a control character, which would end the field."""
    if not text.isprintable():
        raise Unusable("user or token holds a control character")
    return text
