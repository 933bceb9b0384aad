"""Commands, reloads and stops against a working relay: every acknowledged mail ends exactly once."""

import collections
import itertools
import random
import signal
import smtplib
import threading
import time

import pytest

from relay import control
from relay.errors import RelayError
from tests.e2e.tools import until

PATIENCE = 60
"""Seconds within which everything must have ended."""


class Clients:
    """`number` trackers that send without a pause until they are stopped; `taken` are the subjects answered 250."""

    def __init__(self, port, number, rcpt="eve@example.org"):
        self.port, self.rcpt = port, rcpt
        self.taken, self.stopped = [], threading.Event()
        self.numbers = itertools.count()
        self.threads = [threading.Thread(target=self._send) for _ in range(number)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *fault):
        self.stopped.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()

    def _send(self):
        while not self.stopped.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as client:
                    for _ in range(random.randint(1, 5)):
                        subject = f"m{next(self.numbers)}"
                        client.sendmail("t@example.com", [self.rcpt], f"Subject: {subject}\r\n\r\nx\r\n")
                        self.taken.append(subject)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.05)  # not answered: not ours


def ask(relay, do, **more):
    path = relay.folder / "var" / "spool" / "control.sock"
    return list(control.ask(path, {"do": do, **more}))


def everything(relay):
    """Every life, by id."""
    rows = [row for line in ask(relay, "list", states=["queued", "held", "done"]) for row in line["entries"]]
    lives = {}
    for at in range(0, len(rows), 500):
        for line in ask(relay, "show", ids=[row["id"] for row in rows[at : at + 500]]):
            [lives[line["id"]]] = line["entries"]
    return lives


def free_everything(relay):
    """Release and retry until nothing is left."""

    def empty():
        rows = [row for line in ask(relay, "find") for row in line["entries"]]
        if rows:
            ask(relay, "retry", ids=[row["id"] for row in rows][:1000])
        return not rows

    until(empty, "the queue becomes empty", PATIENCE)


@pytest.mark.parametrize("seed", [1, 2])
def test_commands_race_with_deliveries_and_nothing_is_lost_or_doubled(relay, hop, seed):
    chance = random.Random(seed)
    hop.delay = 0.005
    hop.refuse["eve"] = lambda: chance.choice(["250 ok", "250 ok", "450 4.2.1 later"])
    relay.set_hop(hop.port, first="1s").start()
    stopped, told = threading.Event(), collections.Counter()

    def meddle(number):
        own = random.Random(seed * 100 + number)
        while not stopped.is_set():
            names = [row["id"] for line in ask(relay, "find") for row in line["entries"]]
            some = own.sample(names, min(len(names), own.randint(1, 8)))
            verb = own.choice(["hold", "hold", "release", "retry", "retry", "drop", "bounce", "set-aside", "remove"])
            if some:
                for line in ask(relay, verb, ids=some, to="nowhere"):
                    told.update(f"{verb} {row['result']}" for row in line["changed"])

    meddlers = [threading.Thread(target=meddle, args=(number,)) for number in range(3)]
    with Clients(relay.port, 3) as clients:
        for thread in meddlers:
            thread.start()
        time.sleep(4)
        until(lambda: told["drop done"] and told["bounce done"], "something is dropped and bounced", PATIENCE)
    stopped.set()
    for thread in meddlers:
        thread.join(30)
    hop.refuse.clear()
    free_everything(relay)
    lives = everything(relay)
    mails = {row["summary"]: row for row in lives.values() if not row["report"]}
    assert sorted(mails) == sorted(clients.taken), "each acknowledged mail is one entry"
    assert all(len(row["answered"]) == 1 for row in mails.values()), "each recipient has one end"
    ends = collections.Counter(row["answered"][0]["disposition"] for row in mails.values())
    sent = collections.Counter(subject for subject in hop.subjects if subject in mails)
    assert max(sent.values()) == 1
    assert sent.keys() == {name for name, row in mails.items() if row["answered"][0]["disposition"] == "relayed"}
    assert ends == {
        "relayed": len(sent),
        "dropped": told["drop done"] + told["remove done"],
        "refused": told["bounce done"],
    }
    assert ends["dropped"] > 0 < ends["refused"], told
    assert sum(row["report"] for row in lives.values()) > 0


def test_a_reload_under_load_loses_nothing(relay, hop):
    """Fifty reloads, every fifth of a file with a fault, while eight trackers send and 450s are retried."""
    chance = random.Random(3)
    hop.refuse["eve"] = lambda: chance.choice(["250 ok", "250 ok", "250 ok", "450 4.2.1 later"])
    relay.set_hop(hop.port, first="1s").start()
    with Clients(relay.port, 8) as clients:
        for number in range(50):
            wrong = number % 5 == 4
            relay.configure("[notification]\nsmtp_fron = x\n") if wrong else relay.set_hop(hop.port, first="1s")
            [answer] = ask(relay, "reload")
            assert bool(answer["faults"]) is wrong, answer
            time.sleep(0.05)
        relay.set_hop(hop.port, first="1s")
        ask(relay, "reload")
    hop.refuse.clear()
    free_everything(relay)
    assert len(clients.taken) > 50
    assert sorted(hop.subjects) == sorted(clients.taken)
    assert relay.log().count("configuration reloaded") == 41
    assert relay.log().count("the old configuration stays") == 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_under_load_loses_nothing(relay, hop, number):
    hop.delay = 0.02
    relay.set_hop(hop.port, first="1s").start()
    with Clients(relay.port, 8) as clients:
        time.sleep(2)
        began = time.monotonic()
        assert relay.stop(number) == 0
        assert time.monotonic() - began < 20
    assert relay.log().rstrip().endswith("stopped")
    hop.delay = 0.0
    relay.start()
    free_everything(relay)
    assert len(clients.taken) > 20
    sent = collections.Counter(hop.subjects)
    assert max(sent.values()) == 1
    assert set(clients.taken) <= sent.keys()
    assert len(sent) <= len(clients.taken) + 8, "a client whose 250 was cut off may have a mail more"


def test_the_control_socket_goes_with_the_relay(relay, hop):
    relay.set_hop(hop.port).start()
    ask(relay, "list")
    relay.stop()
    with pytest.raises(RelayError):
        ask(relay, "list")


def test_drain_finishes_what_is_under_way_and_leaves_the_rest(relay, hop):
    """A hop that takes longer than a stop would wait; meanwhile nothing new is taken, then it ends."""
    hop.delay = 2.0
    relay.set_hop(hop.port).start()
    with Clients(relay.port, 8) as clients:
        until(lambda: len(clients.taken) > 60, "more mails than workers")
        told = relay.command("drain")
        assert relay.process.wait(10) == 0
    assert told.splitlines()[-1] == "drained"
    assert told.splitlines()[0].endswith(" under way")
    assert relay.log().rstrip().endswith("stopped")
    sent = collections.Counter(hop.subjects)
    assert max(sent.values()) == 1
    assert 0 < len(sent) < len(clients.taken)
    queued = relay.log().count("status=deferred")
    assert queued == 0, "nothing was cut off"
    hop.delay = 0.0
    relay.start()
    free_everything(relay)
    assert collections.Counter(hop.subjects) == collections.Counter(clients.taken)


def test_a_stop_ends_a_drain(relay, hop, monkeypatch):
    hop.delay = 40.0
    relay.set_hop(hop.port).start()
    relay.send(b"Subject: slow\r\n\r\nx\r\n")
    until(lambda: ask(relay, "find")[0]["entries"], "it is queued")
    time.sleep(0.5)
    draining = threading.Thread(target=relay.run, args=("drain",))
    draining.start()
    relay.wait_log("draining, as ")
    began = time.monotonic()
    assert relay.stop() == 0
    assert time.monotonic() - began < 20
    draining.join(10)


def test_drain_without_a_daemon(relay, hop):
    relay.set_hop(hop.port)
    assert "no daemon is running" in relay.command("drain", status=69)
