"""An IPv4 client of a socket for IPv6 is the host that it is: no stranger, and counted with its other connections."""

import asyncio
import socket
from dataclasses import replace

import pytest

from relay.admission import Listen, unmapped
from relay.listening import Listener


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:7f00:1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("64:ff9b::7f00:1", "64:ff9b::7f00:1"),
    ],
)
def test_only_a_mapped_address_is_another(address, plain):
    assert unmapped(address) == plain


def test_loopback_over_a_socket_for_both_families_is_this_host(stage):
    """max_per_host is for other hosts: all trackers of this one share an address."""
    stage.options = replace(stage.options, max_per_host=1, listen=(Listen(name="both"),))

    async def story():
        with socket.socket(socket.AF_INET6) as both:
            both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            both.bind(("::", 0))
            both.listen()
            stage.listener = Listener(stage.setting(), handed_over={"both": [both]})
            await stage.listener.start()
            at = Listen("127.0.0.1", both.getsockname()[1])
            try:
                async with stage.client(at=at) as one, stage.client(at=at) as two:
                    assert one.greeting.startswith("220 ")
                    assert two.greeting.startswith("220 ")
                    assert {session.client.address for session in stage.listener.sessions} == {"127.0.0.1"}
                    assert (await two.mail(b"Subject: x\r\n\r\n.\r\n")).startswith("250 ")
            finally:
                await stage.listener.stop(1)
        assert (await stage.entry()).client.address == "127.0.0.1"

    asyncio.run(story())
