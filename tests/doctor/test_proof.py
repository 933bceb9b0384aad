"""What proves who the server is, as doctor shows it; and the lines to type where it is not proven."""

import ssl
from dataclasses import replace

import pytest

from relay import doctor, proving
from relay.doctor.finding import shown
from relay.doctor.hop import hops_of
from relay.securing import shown_pin
from tests.doctor.conftest import Rows


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
    async def look(port, **changed):
        made = configured(port, "use_tls = true")
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
