"""Published: whether DNS shows the key that belongs to the one we sign with (RFC 6376 3.6)."""

from relay import dkim
from relay.address import ascii_domain
from relay.dkim import Signer
from relay.doctor.finding import Finding, fail, ok, warn
from relay.errors import DnsFault
from relay.resolver import Resolver

_PIECE = 255
"""Octets of one string in a TXT record (RFC 1035 3.3.14)."""


async def published(section: str, signer: Signer, resolver: Resolver) -> Finding:
    """The row for one selector and domain."""
    if not signer.domain:
        return warn("dkim", section, "there is no domain to sign for", f"[{section}]\ndkim_domain = example.com")
    name = f"{signer.selector}._domainkey.{signer.domain}"
    try:
        ours = dkim.record(signer)
    except dkim.CanNotSign as fault:
        return fail("dkim", name, str(fault), f"[{section}]\ndkim_key_file = (a usable key)")
    publish = f"publish this TXT record:\n{zone_line(name, ours)}"
    try:
        answer = await resolver.ask(ascii_domain(name), "TXT")
    except DnsFault as fault:
        return warn("dkim", name, f"DNS gives no answer: {fault}", f"dig TXT {name}")
    if not answer.records:
        return fail("dkim", name, "no key is published: receivers take our signatures for forged", publish)
    records = [text.decode("utf-8", "replace") for text in answer.records]
    return _compared(name, records, ours, publish)


def _compared(name: str, records: list[str], ours: str, publish: str) -> Finding:
    keys = [tags for record in records if "p" in (tags := tags_of(record))]
    if why := _wrong(keys, tags_of(ours)):
        found = f"; published is {'; '.join(records)}" if not keys else ""
        return fail("dkim", name, f"{why}{found}", publish)
    if "y" in keys[0].get("t", "").split(":"):
        text = "the published key is the right one, but marked as a trial (t=y): receivers may ignore it"
        return warn("dkim", name, text, publish)
    return ok("dkim", name, "the published key is the one that we sign with")


def _wrong(keys: list[dict[str, str]], wanted: dict[str, str]) -> str:
    """What is wrong with the published keys; "" when they are one, and the right one."""
    if not keys:
        return "what is published is no key"
    if len(keys) > 1:
        return "several keys are published there, and receivers choose any: leave one"
    [found] = keys
    if not found["p"]:
        return "the published key is revoked (p= is empty)"
    if (found.get("k", "rsa"), found["p"]) != (wanted["k"], wanted["p"]):
        return "another key is published than the one that we sign with"
    if "h" in found and "sha256" not in found["h"].split(":"):
        return f"the published key is not for sha256 (h={found['h']})"
    return ""


def tags_of(record: str) -> dict[str, str]:
    """The tags of a record, blanks dropped (RFC 6376 3.2)."""
    pairs = (part.partition("=") for part in record.split(";"))
    return {name.strip(): "".join(value.split()) for name, equals, value in pairs if equals}


def zone_line(name: str, record: str) -> str:
    """A line of a zone file; what is longer than one string can be stands in several."""
    strings = " ".join(f'"{record[at : at + _PIECE]}"' for at in range(0, len(record), _PIECE))
    return f"{name}. IN TXT ( {strings} )"
