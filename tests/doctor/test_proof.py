"""What proves who the server is, as doctor shows it; and the lines to type where it is not proven."""

import ssl
from dataclasses import replace

import pytest

from relay import config, doctor, proving
from relay.doctor import discovered
from relay.doctor.finding import shown
from relay.doctor.hop import hops_of
from relay.https import Answer as Page
from relay.securing import shown_pin
from tests.doctor.conftest import Rows
from tests.nameserver import SERVFAIL, Zone, serving


@pytest.fixture
def pins(certificates):
    def pin(name):
        blocks = (certificates / f"{name}.pem").read_text().split("-----BEGIN CERTIFICATE-----")
        body = blocks[1].partition("-----END CERTIFICATE-----")[0]
        pem = f"-----BEGIN CERTIFICATE-----{body}-----END CERTIFICATE-----\n"
        return proving.pin_of(ssl.PEM_cert_to_DER_cert(pem))

    return pin


@pytest.fixture
def looked_at(configured):
    async def look(port, sections="", **changed):
        made = configured(port, "use_tls = true", sections=sections)
        [hop] = hops_of(made)
        hop.upstream = replace(hop.upstream, ca_file="", **changed)
        return Rows([shown(row, []) async for row in doctor.examine(made, hop, None)])

    return look


def test_a_pinned_key(stage, tls, run, looked_at, pins):
    async def story():
        async with stage.peer(certificate=tls("selfsigned")) as peer:
            rows = await looked_at(peer.port, proof="pin", pins=(pins("selfsigned"),))
            assert rows.row("tls").level == "ok"
            assert "it proves localhost by its key, which is one of tls_pins" in rows.row("tls").text
            assert "logged in as me" in rows.row("auth").text

    run(story)


def test_another_key_is_shown_with_the_line_that_would_take_it(stage, tls, run, looked_at, pins):
    async def story():
        async with stage.peer(certificate=tls("good")) as peer:
            rows = await looked_at(peer.port, proof="pin", pins=(pins("selfsigned"),))
            row, seen = rows.row("tls"), shown_pin(pins("good"))
            assert row.level == "fail"
            assert f"the server's key is none of tls_pins: it is {seen}; it is a certificate for localhost" in row.text
            assert row.remedy.endswith(f"[notification]\ntls_pins = {shown_pin(pins('selfsigned'))}, {seen}")
            assert peer.auths == 0

    run(story)


HOST = {("localhost", "A"): ["127.0.0.1"]}


@pytest.fixture
def dane_at(stage, tls, run, looked_at, certificates):
    """The rows for a peer with that certificate, whose name server has these records."""

    def look(name, records, mode="starttls", **zone):
        async def story():
            async with stage.peer(certificate=tls(name)) as peer:
                known = {(f"_{peer.port}._tcp.localhost", "TLSA"): records, **HOST} if records else HOST
                with serving(Zone(known, **zone)) as served:
                    dns = f"[dns]\nnameservers = 127.0.0.1:{served.port}\ntimeout = 1s"
                    return await looked_at(peer.port, dns, proof="dane", tls=mode), peer

        return run(story)

    return look


def test_dane_that_proves(dane_at, pins):
    record = f"3 1 1 {pins('expired').hex()}"
    rows, _ = dane_at("expired", [record], proven=True)
    assert rows.row("dane").text == f"DNSSEC proves the TLSA records of localhost: {record}"
    assert rows.row("tls").level == "ok"
    assert rows.row("tls").text.endswith("; it proves localhost by its TLSA records")
    assert "logged in" in rows.row("auth").text


def test_dane_that_names_another_certificate(dane_at, pins):
    rows, peer = dane_at("good", [f"3 1 1 {pins('selfsigned').hex()}"], proven=True)
    row = rows.row("tls")
    assert row.level == "fail"
    assert "no TLSA record of localhost fits the certificate" in row.text
    assert row.remedy.endswith(f"_{peer.port}._tcp.localhost. IN TLSA 3 1 1 {pins('good').hex()}")
    assert peer.auths == 0


@pytest.mark.parametrize(
    ("records", "zone", "text", "remedy"),
    [
        (["3 1 1 " + "00" * 32], {}, "DNS does not prove what it says of localhost", "nameservers = 127.0.0.1"),
        ([], {"proven": True}, "no TLSA record is published", "ask the administrator of localhost to publish"),
        (["1 1 1 " + "00" * 32], {"proven": True}, "no TLSA record that is of use: 1 1 1", "with usage 3 or 2"),
        (SERVFAIL, {"proven": True}, "the resolver answers SERVFAIL", "dig +dnssec TLSA _"),
    ],
)
def test_what_keeps_the_mail_back_and_what_to_do(dane_at, records, zone, text, remedy):
    rows, peer = dane_at("good", records, **zone)
    assert rows.row("dane").level == "fail"
    assert rows.row("dane").text.startswith("mail waits: ")
    assert text in rows.row("dane").text
    assert remedy in rows.row("dane").remedy
    assert peer.commands == []
    assert "tls" not in dict(rows.checks())


def test_opportunistic_dane_that_finds_nothing_is_a_warning(dane_at):
    rows, _ = dane_at("good", [], "opportunistic", proven=True)
    assert rows.row("dane").level == "warn"
    assert rows.row("dane").text == "no TLSA record is published; TLS is used if it can be had"


POLICY = b"version: STSv1\nmode: %s\nmx: %s\nmax_age: 1000\n"


@pytest.fixture
def direct(stage, tls, run, tmp_path):
    """The rows of direct delivery to a domain whose policy has this mode and names this mail server."""

    def look(mode, names):
        async def fetch(_url, _at):
            return Page(200, {"content-type": "text/plain"}, POLICY % (mode, names))

        async def story():
            async with stage.peer(certificate=tls("good")) as peer:
                records = {
                    ("a.test", "MX"): ["5 mx.a.test."],
                    ("mx.a.test", "A"): ["127.0.0.1"],
                    ("_mta-sts.a.test", "TXT"): ['"v=STSv1; id=1"'],
                    ("mta-sts.a.test", "A"): ["127.0.0.1"],
                }
                with serving(Zone(records)) as zone:
                    path = tmp_path / "config.ini"
                    path.write_text(
                        f"[dns]\nnameservers = 127.0.0.1:{zone.port}\n[mx]\nport = {peer.port}\n[notification]\n"
                        "smtp_enabled = true\nsmtp_from = bot@a.test\nupstream = mx\n"
                    )
                    path.chmod(0o600)
                    made = config.read(path).configuration
                    rows = discovered.rows(made, hops_of(made)[0], None, doctor.examine, fetch)
                    return Rows([shown(row, []) async for row in rows]), peer

        found = run(story)
        assert not (tmp_path / "var" / "spool" / "mta-sts").exists(), "doctor leaves nothing behind"
        return found

    return look


def test_a_policy_that_is_heeded_and_a_certificate_that_does_not_fit(direct):
    rows, peer = direct(b"enforce", b"mx.a.test")
    assert rows.row("mta-sts").text == "the policy of a.test is heeded: mx mx.a.test"
    assert rows.row("tls").level == "fail"
    assert "certificate not accepted" in rows.row("tls").text
    assert rows.row("tls").remedy == "ask the administrator of mx.a.test: mail waits until it is mended"
    assert not any(command.startswith("MAIL") for command in peer.commands)


def test_a_policy_that_does_not_name_the_mail_server(direct):
    rows, peer = direct(b"enforce", b"mail.elsewhere.test")
    heeded, bars = [row for row in rows if row.check == "mta-sts"]
    assert (heeded.level, bars.level) == ("ok", "fail")
    assert bars.text == "mail waits: the MTA-STS policy of its domain does not name mx.a.test"
    assert peer.commands == []


def test_a_policy_in_testing(direct):
    rows, _ = direct(b"testing", b"mail.elsewhere.test")
    assert rows.row("mta-sts").text == "the policy of a.test is in testing: mx mail.elsewhere.test"
    assert rows.row("tls").level == "ok"
