"""kill -9 at random moments under load: nothing acknowledged is lost, nothing is torn, and only mail under way doubles."""

import random
import time

from tests.crash.stage import KILLED, Clients, arrived, check_greetings, doubled

UNDER_WAY = 25
"""Mails that one kill may double: as many as are on their way at once."""
SETTLED_WITHIN = 5.0
"""Seconds between the next hop's answer and its record in the spool, at most, on a busy machine."""


def kill_and_restart(relay, sink, rounds, *, seed=1):
    """`rounds` kills while eight clients send; the times of the kills, and the tokens acknowledged."""
    dice = random.Random(seed)
    one = relay()
    one.start()
    clients = Clients(one.port)
    kills = []
    try:
        for _ in range(rounds):
            time.sleep(dice.uniform(0.05, 1.0))
            one.kill()
            kills.append(time.monotonic())
            assert one.process.returncode == KILLED
            one.start()
    finally:
        clients.stop()
    arrived(sink, clients.acknowledged, 120)
    return one, kills, clients.acknowledged


def check_doubles(sink, kills):
    twice = doubled(sink)
    for token, at in twice.items():
        # A next hop that was still reading takes the mail a little after the kill.
        assert any(-SETTLED_WITHIN < kill - at < SETTLED_WITHIN for kill in kills), f"{token} doubled without a kill"
    assert len(twice) <= UNDER_WAY * len(kills)
    return twice


def test_promises_1_and_3_kill_at_random_moments(relay, sink, soak):
    one, kills, acknowledged = kill_and_restart(relay, sink, 200 if soak else 6)
    twice = check_doubles(sink, kills)
    print(f"{len(kills)} kills, {len(acknowledged)} acknowledged, 0 lost, {len(twice)} doubled")
    assert len(acknowledged) > 50
    check_greetings(one.greeted[1:])
    one.check_empty()
