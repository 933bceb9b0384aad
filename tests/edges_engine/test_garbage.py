"""A mail that is done is gone: nothing of it waits for the collector, which comes rarely, and meets whoever waits then."""

import asyncio
import gc
import smtplib
from pathlib import Path

from relay import app, config, journal
from relay.spool import Wanted
from relay.systemd import Systemd

CONFIG = """[listener]
listen = 127.0.0.1:0
submission =
[spool]
path = spool
[status]
listen =
[notification]
smtp_enabled = true
smtp_from = bot@example.com
smtp_always_cc = list@example.org
mime_encoding = base64
"""
MAILS = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "mails").glob("*/*/in.eml"))]


def send(port, number):
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        for octets in MAILS:
            client.sendmail("tracker@t.example.com", [f"eve-{number}@example.org", "bob@example.org"], octets)


def kinds_left():
    """What of ours only the collector has found."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        kinds = {type(one) for one in gc.garbage}
        return sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds if "relay" in kind.__module__)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.collect()  # so that the next look does not find them again


def test_no_mail_is_left_to_the_collector(tmp_path):
    path = tmp_path / "config.ini"
    path.write_text(CONFIG)
    loaded = config.read(path, {})
    assert not loaded.faults
    relay = app.Relay(loaded.configuration, Systemd({}))

    async def story():
        sent = journal.COUNTERS["sent"]
        stop, ready = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(relay.run(stop, lambda _: ready.set()))
        await ready.wait()
        port = relay.listener.addresses[0].port
        left = []
        for number in range(2):  # what is made once, is made with the first
            await asyncio.to_thread(send, port, number)
            async with asyncio.timeout(20):
                while [entry async for entry in relay.spool.browse(Wanted(limit=1))]:
                    await asyncio.sleep(0.02)
            left = kinds_left()
            gc.disable()
        stop.set()
        await running
        assert journal.COUNTERS["sent"] - sent >= 2 * len(MAILS)
        return left

    assert len(MAILS) > 20
    try:
        assert asyncio.run(story()) == []
    finally:
        gc.enable()
