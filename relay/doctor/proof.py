"""Proof: what else than an authority proves who a server is: its key, its TLSA records; rows without I/O."""

from collections.abc import Iterator

from relay import dane
from relay.dane import State
from relay.doctor.finding import Finding, fail, ok, warn
from relay.doctor.hop import Hop
from relay.link import Seen
from relay.proving import pin_of, tlsa_of
from relay.routing import UNLISTED
from relay.securing import shown_pin
from relay.tls import Level


def published(hop: Hop, seen: Seen) -> Iterator[Finding]:
    """The row of the TLSA records, where DANE is the proof and they do not bar the way."""
    found = seen.published
    if found is None or barred(hop, seen):
        return
    if found.state is State.USABLE:
        records = ", ".join(map(dane.shown, found.records[:3]))
        yield ok("dane", hop.about, f"DNSSEC proves the TLSA records of {found.names[0]}: {records}")
    elif not hop.upstream.is_exchanger:  # of a stranger's server nothing else was to be expected
        then = "TLS without proof is demanded" if found.state is State.UNUSABLE else "TLS is used if it can be had"
        yield warn("dane", hop.about, f"{found.text}; {then}", _remedy(hop, found.state))


def barred(hop: Hop, seen: Seen) -> Finding | None:
    """The row where what DNS says, or a policy, keeps every mail back; None where it does not."""
    found = seen.published
    proved = found is not None and found.state in (State.USABLE, State.FAILED)
    if hop.upstream.sts == UNLISTED and not proved:
        text = f"mail waits: the MTA-STS policy of its domain does not name {hop.upstream.server}"
        return fail("mta-sts", hop.about, text, "ask the administrator of the domain: policy and MX differ")
    if found is None or found.state is State.USABLE:
        return None
    if found.state is not State.FAILED and hop.upstream.tls == "opportunistic":
        return None
    return fail("dane", hop.about, f"mail waits: {found.text}", _remedy(hop, found.state))


def _remedy(hop: Hop, state: State) -> str:
    up = hop.upstream
    other = f"or name another proof:\n{hop.line('tls_proof', 'pkix')}"
    if state is State.FAILED:
        return f"dig +dnssec TLSA _{up.port}._tcp.{up.server}"
    if state is State.INSECURE:
        advice = "a resolver on this host that validates (apt-get install unbound), and the server in a signed zone;"
        return f"DANE needs both:\n{advice}\n[dns]\nnameservers = 127.0.0.1\n{other}"
    return f"ask the administrator of {up.server} to publish TLSA records with usage 3 or 2,\n{other}"


def without_dates(hop: Hop, seen: Seen) -> str:
    """What proves the server whatever its certificate says of dates; "" where that is not so."""
    if seen.level is Level.PINNED:
        return "its key, which is one of tls_pins"
    if seen.level is Level.DANE and seen.published and seen.published.is_own(seen.certificate_octets):
        return "its TLSA records"
    return ""


def not_proven(hop: Hop, told: str, seen: Seen) -> Finding:
    """The server has shown another key, or another certificate."""
    if seen.published:
        name = f"_{hop.upstream.port}._tcp.{seen.published.names[0]}"
        line = f"{name}. IN TLSA {dane.shown(tlsa_of(seen.certificate_octets))}"
        advice = f"if that is its certificate, the administrator of {hop.upstream.server} has to publish\n{line}"
        return fail("tls", hop.about, told, advice)
    pins = [*map(shown_pin, hop.upstream.pins), shown_pin(pin_of(seen.certificate_octets))]
    advice = "if its administrator says that this key is the server's own, now or soon:"
    return fail("tls", hop.about, told, f"{advice}\n{hop.line('tls_pins', ', '.join(pins))}")
