"""Names of next hops: what is found, what is not, and that a name server that hangs stops nobody else (promise 7)."""

import asyncio
import socket
import threading

import pytest

from relay import lookup


def test_names_and_addresses_as_the_system_gives_them():
    async def story():
        for server in ("127.0.0.1", "localhost"):
            found = await lookup.addresses(server, 2525)
            assert (socket.AF_INET, ("127.0.0.1", 2525)) in [(family, address) for family, _, _, _, address in found]
        [(family, _, _, _, address)] = await lookup.addresses("::1", 25)
        assert (family, address[:2]) == (socket.AF_INET6, ("::1", 25))

    asyncio.run(story())


@pytest.mark.parametrize("fault", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
def test_what_the_system_does_not_find_is_its_fault(monkeypatch, fault):
    def fails(*_, **__):
        raise fault

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(type(fault)):
        asyncio.run(lookup.addresses("nowhere.example", 25))


def test_promise_7_names_that_hang_keep_neither_other_names_nor_files_waiting(monkeypatch):
    over, real = threading.Event(), socket.getaddrinfo

    def hangs(host, *args, **more):
        if host == "dead.example":
            over.wait(30)
        return real(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", hangs)

    async def story():
        lost = [asyncio.create_task(lookup.addresses("dead.example", 25)) for _ in range(60)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            assert await lookup.addresses("localhost", 25)
            assert await asyncio.to_thread(lambda: 7) == 7
        for task in lost:
            task.cancel()
        await asyncio.gather(*lost, return_exceptions=True)

    try:
        asyncio.run(asyncio.wait_for(story(), 20))
    finally:
        over.set()
