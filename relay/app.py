"""App: build the parts, start, reload, drain, stop. Reads as the list of parts."""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from relay import config, descriptors, journal, outbox, runner, spool, suppression
from relay.canary import Canary
from relay.control import Control, socket_path
from relay.delivery import Delivery
from relay.discovery import Discovery
from relay.duplicates import Duplicates
from relay.entry import Attempt, Entry, new_id
from relay.errors import RelayError
from relay.events import Events
from relay.gate import gate_of
from relay.hops import VERBS, Hops
from relay.https import Browser
from relay.limits import Meter
from relay.listening import Listener
from relay.loaded import (
    Configuration,
    Reloaded,
    hostname_of_system,
    limits_of,
    needs_restart,
    policy_folder,
    profiles_of,
    routes_of,
    token_folder,
    upstreams_of,
)
from relay.mail import Mail
from relay.message import Body, Message
from relay.policies import Policies
from relay.prepare import Prepared, Reading, Setting, event_key, hint, prepare_read, read
from relay.queue import Parts, Queue
from relay.queue.waiting import LOG_IN
from relay.renewal import Renewal
from relay.reports import Reports
from relay.resolver import Resolver
from relay.retry import RetryOptions
from relay.routing import Route, Upstream
from relay.startlines import announce, start_line
from relay.statuspage import Sources, StatusPage
from relay.suppression import Suppression
from relay.surroundings import Pile, Pulse
from relay.surroundings import Setting as ListenerSetting
from relay.systemd import Systemd
from relay.tlsa import Published
from relay.tokens import Keeper
from relay.tokenstore import TokenStore
from relay.upstream import Upstreams

GRACE = 10.0
"""Seconds that running attempts get when the relay is told to stop."""

INLINE = 8192
"""Octets of a mail up to which it is prepared on the event loop: no header of that size takes 50 ms of it."""
RECIPIENT = 40
"""Octets that one recipient weighs as much as."""

LONGEST_ATTEMPT = 86400.0
"""Seconds that they get when it is told to drain: the timeouts of the next hops end them long before."""

EX_OK, EX_UNAVAILABLE, EX_CONFIG = 0, 69, 78


class Relay:
    """All parts, wired, with the configuration of this moment; nothing is opened before `run`."""

    def __init__(self, configuration: Configuration, service: Systemd) -> None:
        self.configuration = configuration
        self.service = service
        self.setting = setting_of(configuration)
        self.spool = spool.create(configuration.spool, time.time)
        self.events = Events(self.spool, time.time)
        self.tokens = Keeper(Renewal(TokenStore(token_folder(configuration)), time.time), time.time)
        self.tokens.use(upstreams_of(configuration))
        published = Published(lambda: self.discovery.resolver)
        self.upstreams = Upstreams(
            configuration.timeouts, self.setting.hostname, time.time, self.tokens, published, self.spool
        )
        self.reports = Reports(self.spool, _id, self.setting.hostname)
        self.pulse, self.pile = Pulse(), Pile()
        self.delivery = Delivery(
            self.spool,
            self._prepare,
            self._attempt,
            self._schedule,
            time.time,
            random.random,
            self.reports,
            profiles=lambda: [profile.name for profile in self.setting.profiles],
            heard=lambda: self.pulse.heard,
        )
        self.duplicates, self.meter = Duplicates(), Meter()
        self.gate = gate_of(configuration.listener)
        self.listener = Listener(self._listener_setting(), configuration.submission_socket, service.sockets)
        wake, lift = self.delivery.wake, self.upstreams.forgive
        self.queue = Queue(Parts(self.spool, time.time, wake, self._prepare, self.reports, self._schedule, lift))
        again = self.queue.due_again
        self.hops = Hops(self.spool, self.upstreams, self._all_next_hops, time.time, again, self._hosts)
        self.suppression = Suppression(self.spool, time.time, self._suppressed)
        self.canary = Canary(self.upstreams, self._next_hops, self.hops.is_paused, self.queue.back)
        self.control = Control(socket_path(configuration), self._answer)
        self.draining = asyncio.Event()
        self.page = StatusPage(self._sources())
        kept = TokenStore(policy_folder(configuration), "MTA-STS policies")
        policies = Policies(kept, lambda: self.discovery.resolver, Browser().get, time.time)
        self.discovery = Discovery(
            Resolver(configuration.dns),
            self.upstreams,
            time.time,
            random.random,
            lambda: (self.setting.hostname, self.setting.gateway_id),
            lambda: self.listener.addresses,
            policies,
        )

    def _schedule(self) -> RetryOptions:
        return self.configuration.retry

    def _listener_setting(self) -> ListenerSetting:
        setting = self.setting
        return ListenerSetting(
            self.configuration.listener,
            self.spool,
            _id,
            time.time,
            setting.hostname,
            setting.gateway_id,
            self.delivery.arrived,
            self._assigned,
            self.duplicates,
            self.gate,
            limits_of(self.configuration, self.meter),
            pile=self.pile,
            pulse=self.pulse,
        )

    def _assigned(self, entry: Entry, message: Message) -> Entry:
        """A new entry in the line of its profile; where that can not be told, in that of the default one."""
        try:
            name = hint(entry, message, self.setting).profile.name
            return entry if name == entry.profile else replace(entry, profile=name)
        except Exception as fault:
            journal.fault(f"profile of {entry.id}", fault)
            return entry

    def _sources(self) -> Sources:
        """What the status page may look at."""
        return Sources(
            self.spool,
            time.time,
            lambda: self.setting,
            lambda: "" if self.listener.serving else "stopping",
            lambda: [(hop, self.hops.row(hop)) for hop in self._next_hops()],
            lambda: list({Path(hop.path) for hop in self._next_hops() if hop.is_outbox} | {self._default_outbox()}),
            self.events.would_be_first,
        )

    def _next_hops(self) -> list[Upstream]:
        """Those that mail goes to."""
        setting = self.setting
        used = [profile.upstreams for profile in setting.profiles] + [rule.upstreams for rule in setting.routes]
        return list(dict.fromkeys(hop for upstreams in used for hop in upstreams))

    def _all_next_hops(self) -> list[Upstream]:
        return upstreams_of(self.configuration)

    async def _hosts(self, hop: Upstream, domain: str) -> Sequence[Upstream]:
        return await self.discovery.hosts(hop, domain)

    def _default_outbox(self) -> Path:
        """Where mail was kept before there was a mail server."""
        return Path(self.configuration.next_hop.outbox)

    def _open_page(self) -> None:
        configuration = self.configuration
        self.page.open(configuration.status, Path(configuration.spool.path), configuration.log)

    async def run(self, stopping: asyncio.Event, ready: Callable[["Relay"], None]) -> None:
        """Serve until `stopping` or told to drain; then no new mail, running attempts finish, the rest stays queued."""
        await self.spool.open()
        try:
            self._make_room()
            await self.recollect()
            self.hops.announce()
            await self.control.start()  # who sees us listen may ask at once
            await self.listener.start()
            self.tokens.start()
            self.canary.start()
            delivering = asyncio.create_task(self.delivery.run())
            told = [asyncio.create_task(event.wait()) for event in (stopping, self.draining)]
            ready(self)
            self._open_page()
            await asyncio.wait((delivering, *told), return_when=asyncio.FIRST_COMPLETED)
            self.service.stopping()
            grace = GRACE if stopping.is_set() else LONGEST_ATTEMPT
            ending = asyncio.gather(self.listener.stop(GRACE), self.delivery.drain(grace))
            if grace > GRACE:
                await asyncio.wait((ending, told[0]), return_when=asyncio.FIRST_COMPLETED)
                await self.delivery.drain(GRACE)  # where a stop has followed
            await ending
            await delivering
            for task in told:
                task.cancel()
        finally:
            await self.listener.stop(0)
            await self.control.stop()
            await self.page.close()
            self.canary.stop()
            await self.upstreams.close()
            await self.discovery.resolver.close()
            await self.tokens.stop()
            await self.spool.close()

    async def recollect(self) -> None:
        """What an administrator has said before a restart, out of the open spool. Raises SpoolError."""
        await self.hops.open()
        await self.suppression.open()

    def _suppressed(self, keys: frozenset[tuple[str, str]]) -> None:
        self.setting = replace(self.setting, suppressed=keys)

    def _make_room(self) -> None:
        """For as many clients as the configuration allows, or the system."""
        wanted = self.configuration.listener.max_connections
        self.listener.crowd.room = room = descriptors.room(wanted)
        if room < wanted:
            journal.warning("", f"the limit of open files is for {room} clients, not {wanted}: raise LimitNOFILE")

    def reload(self) -> Reloaded:
        """Take the file as it stands now, for new sessions and every further attempt; its faults keep the old one."""
        self.service.reloading()
        reloaded = Reloaded(faults=["the reload broke off"])
        try:
            reloaded = self._reload()
        finally:
            line = start_line(self.setting, self.listener.addresses)
            self.service.ready("the old configuration stays: see the log" if reloaded.faults else line)
            reloaded.log()
        if not reloaded.faults:
            announce(self.setting, self.listener.addresses)
        return reloaded

    def _reload(self) -> Reloaded:
        """First make all that may fail, then take it: never one half of a configuration."""
        loaded = config.read(self.configuration.path)
        if loaded.faults:
            return Reloaded(loaded.fault_lines())
        new, old = loaded.configuration, self.configuration
        taken = replace(new, spool=old.spool)
        setting, hops = replace(setting_of(taken), suppressed=self.setting.suppressed), upstreams_of(taken)
        try:
            gate = gate_of(taken.listener)
        except (OSError, UnicodeError) as fault:  # changed since it was read; ssl.SSLError is an OSError
            return Reloaded([f"{new.path}: [listener] tls_certificate, passwd_file: {fault}"])
        try:
            journal.setup(new.log)
        except OSError as fault:
            return Reloaded([f"{new.path}: [log] file: {fault.filename}: {fault.strerror}"])
        self.configuration, self.setting, self.gate = taken, setting, gate
        self.upstreams.reloaded(new.timeouts, setting.hostname)
        self.reports.hostname = setting.hostname
        if new.dns != old.dns:
            self.discovery.resolver = Resolver(new.dns)
        self.tokens.use(hops)
        self.listener.setting = self._listener_setting()
        self._make_room()
        self.delivery.wake()
        if new.status != old.status or not self.page.is_current:
            self._open_page()
        return Reloaded([], [*loaded.warning_lines(), *needs_restart(old, new)])

    async def _answer(self, request: dict[str, Any], octets: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
        """What the control socket is asked."""
        if request.get("do") == "reload":
            reloaded = self.reload()
            yield {"faults": reloaded.faults, "warnings": reloaded.warnings}
            return
        if request.get("do") == "drain":
            journal.info("", f"draining, as {request['by']} says")
            self.draining.set()
            while True:  # the end closes the connection
                yield {"under_way": self.delivery.under_way}
                await asyncio.sleep(0.5)
        if request.get("do") == "signed-in":
            yield await self._signed_in(str(request.get("mark", "")), str(request.get("by", "")))
            return
        async for line in self.ask(request, octets):
            yield line

    async def ask(self, request: dict[str, Any], octets: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
        """What needs no daemon: the spool is enough. Raises RelayError."""
        verb = request.get("do")
        if verb in suppression.VERBS:
            lines = self.suppression.answer(request)
        else:
            lines = self.hops.answer(request) if verb in VERBS else self.queue.answer(request, octets)
        async for line in lines:
            yield line

    async def _signed_in(self, mark: str, by: str) -> dict[str, Any]:
        """Somebody gave a client new tokens: its next hops are tried again, and the mail that waited for them."""
        hops = upstreams_of(self.configuration)
        names = [hop.name for hop in hops if hop.oauth and hop.oauth.mark == mark]
        self.tokens.use(hops)
        self.upstreams.forgive(names)
        return {"due": await self.queue.due_again(names, by, LOG_IN)}

    async def _prepare(self, entry: Entry, body: Body) -> Prepared:
        """Rewrite and route; pure, so a large mail goes through a thread and the event loop does not wait for it."""
        setting = self.setting
        if entry.size + RECIPIENT * len(entry.envelope.recipients) > INLINE:
            reading = await asyncio.to_thread(read, entry, body, setting)
            first = await self._is_first(reading)
            return await asyncio.to_thread(prepare_read, reading, setting, first_of_event=first)
        reading = read(entry, body, setting)
        return prepare_read(reading, setting, first_of_event=await self._is_first(reading))

    async def _is_first(self, reading: Reading) -> bool:
        """True for the first mail of an event, and for one that belongs to none."""
        key = event_key(reading)
        return not key or await self.events.is_first(key, reading.entry.id)

    async def _attempt(self, route: Route, mail: Mail) -> Attempt:
        if deferral := self.hops.deferral(route, mail):
            return deferral
        if route.upstream.is_outbox:
            return await outbox.deliver(route, mail, time.time)
        if route.upstream.is_discovered:
            return await self.discovery.attempt(route, mail)
        return await self.upstreams.attempt(route, mail)


def setting_of(configuration: Configuration) -> Setting:
    """The part of the configuration that decides about mail."""
    listener = configuration.listener
    hostname = listener.hostname or hostname_of_system()
    profiles, routes = profiles_of(configuration), routes_of(configuration)
    return Setting(profiles, hostname, listener.gateway_id or hostname, listener.catch_all, configuration.users, routes)


def _id() -> str:
    return new_id(time.time(), random.getrandbits(30))


def run(path: Path) -> int:
    """The daemon in the foreground; the exit status (sysexits)."""
    runner.no_memory_image()
    loaded = config.read(path)
    for line in loaded.warning_lines():
        print(f"warning: {line}", file=sys.stderr)
    if loaded.faults:
        for line in loaded.fault_lines():
            print(line, file=sys.stderr)
        return EX_CONFIG
    try:
        journal.setup(loaded.configuration.log)
    except OSError as fault:
        print(f"tracker-relay: [log] file: {fault.filename}: {fault.strerror}", file=sys.stderr)
        return EX_CONFIG
    runner.one_heap()
    runner.tune_collector()
    runner.share_the_interpreter()
    try:
        return runner.runner()(_serve(loaded.configuration, Systemd(os.environ)))
    except RelayError as fault:
        print(f"tracker-relay: {fault}", file=sys.stderr)
        return EX_UNAVAILABLE


async def _serve(configuration: Configuration, service: Systemd) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    relay = Relay(configuration, service)
    loop.add_signal_handler(signal.SIGHUP, relay.reload)
    async with service.watched():
        await relay.run(stopping, _begin)
    journal.info("", "stopped")
    return EX_OK


def _begin(relay: Relay) -> None:
    announce(relay.setting, relay.listener.addresses)
    relay.service.ready(start_line(relay.setting, relay.listener.addresses))
