"""Device: a person signs in on any device with a code that we show (RFC 8628)."""

import asyncio
import sys
from datetime import UTC, datetime

from relay.errors import RelayError
from relay.oauth import replies, requests
from relay.oauth.client import Client
from relay.oauth.replies import Kind, Refusal, Tokens
from relay.renewal import Renewal

SLOWER = 5.0
"""Seconds added to the pause between two questions when the server asks for it (RFC 8628 3.5)."""
LONGEST_PAUSE = 60.0


async def sign_in(client: Client, renewal: Renewal) -> Tokens:
    """Show the code, and ask until somebody has signed in with it. Raises RelayError."""
    request = requests.device_start(client)
    answer = await renewal.send(client, request)
    if isinstance(answer, Refusal):
        raise RelayError(answer.text)
    device = replies.device(answer.status, answer.body, secrets=request.secrets)
    if isinstance(device, Refusal):
        raise RelayError(device.text)
    loop = asyncio.get_running_loop()
    ends, pause = loop.time() + device.lives, device.interval
    until = datetime.fromtimestamp(renewal.clock() + device.lives, UTC).strftime("%H:%M UTC")
    print(f"Open {device.address} in any browser, sign in as {client.user},\nand enter the code {device.user_code}")
    print(f"Waiting until {until} ...", flush=True)
    while loop.time() + pause < ends:
        await asyncio.sleep(pause)
        told = await renewal.ask(client, lambda proof: requests.device_poll(client, device.device_code, proof), None)
        if isinstance(told, Tokens):
            return told
        match told.kind:
            case Kind.PERSON:
                raise RelayError(told.text)
            case Kind.SLOW_DOWN:
                pause = min(pause + SLOWER, LONGEST_PAUSE)
            case Kind.LATER:
                print(f"{told.text}; still waiting", file=sys.stderr)
                pause = min(pause * 2, LONGEST_PAUSE)
    raise RelayError("nobody signed in before the code ended: begin again")
