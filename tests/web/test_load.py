"""Much mail, and much asking: a page costs its own rows, and the mail road has its time whatever the page does."""

import asyncio
import contextlib
import itertools
import socket
import statistics
import threading
import time

import pytest

from relay.entry import State, encode
from relay.web import connection, guard, reading
from tests.web.conftest import ask, attempt, deferred, wait_for

MANY = 20_000


@pytest.fixture
def full(site):
    """20,000 queued mails, one in 500 held, 20,000 finished ones, and 20,000 in the outbox."""
    form = site.entry(summary="[Harbour] #12: Crane jams", attempts=(attempt(site.now, deferred()),), reason="535 no")
    base = encode(form).decode()

    def rows(table, letter):
        for n in range(MANY):
            name = f"{letter}{n:014}"
            state = State.HELD if table == "entries" and n % 500 == 0 else State.QUEUED
            text = base.replace(form.id, name).replace("eve@", f"p{n}@")
            yield name, state, text.replace('"id"', f'"state":"{state}","id"', 1).encode()

    def fill(database):
        database.executemany(
            "INSERT INTO entries (id, state, profile, due, size, entry) VALUES (?, ?, 'notification', 9e9, 1, ?)",
            rows("entries", "a"),
        )
        database.executemany(
            "INSERT INTO history (id, done_at, entry) VALUES (?, ?, ?)",
            ((a, 1.0, c) for a, _, c in rows("history", "b")),
        )

    site.run(site.spool._do(fill))
    folder = site.outbox / "new"
    folder.mkdir(parents=True)
    for n in range(MANY):
        (folder / f"c{n:014}.{n:016x}").write_bytes(b"Subject: x\r\n\r\nx\r\n")
    return site


@contextlib.contextmanager
def stalls(site):
    """How long the event loop keeps others waiting: the delays of a task that wants to run every 5 ms."""
    found = []

    async def watch():
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            found.append(time.monotonic() - began - 0.005)

    async def start():
        return asyncio.ensure_future(watch())

    task = site.run(start())
    try:
        yield found
    finally:
        site.loop.call_soon_threadsafe(task.cancel)


def test_twenty_thousand_mails_are_listed_quickly_and_stop_nobody(full):
    paths = (
        *("/", "/queue", "/queue?state=held", "/queue?order=oldest&state=held", "/history", "/outbox", "/metrics"),
        *("/queue?beyond=a00000000010000", "/search?q=p19999@example.org", "/search?q=%2312", "/mail/a00000000010000"),
        *("/outbox?beyond=c00000000010000.0000000000002710", "/api/queue?limit=1000", "/search?q=nowhere-at-all"),
    )
    full.get("/")
    with stalls(full) as found:
        for path in paths:
            began = time.monotonic()
            assert full.get(path).status == 200
            assert time.monotonic() - began < 5, path
    assert "19,960 mails wait" in full.get("/").text
    assert full.get("/queue?state=held").text.count("badge held") == 40
    assert statistics.quantiles(found, n=20)[-1] < 0.05, sorted(found)[-20:]
    assert max(found) < 1, sorted(found)[-5:]


def test_a_page_that_takes_too_long_is_given_up(site, monkeypatch):
    async def slow(_wanted):
        await asyncio.sleep(5)
        yield None

    monkeypatch.setattr(guard, "PATIENCE", 0.05)
    monkeypatch.setattr(site.spool, "browse", slow)
    for _ in range(3):
        assert "took too long" in site.get("/search?q=x", 503).text
    monkeypatch.undo()
    assert site.get("/queue").status == 200


def test_one_page_at_a_time_and_a_rest_as_long_behind_it(site, monkeypatch):
    """However many ask: half of the time is not the page's."""
    spans = []
    overview = reading.overview

    async def slow(sources):
        began = site.loop.time()
        await asyncio.sleep(0.1)
        seen = await overview(sources)
        spans.append((began, site.loop.time()))
        return seen

    monkeypatch.setattr(reading, "overview", slow)
    threads = [threading.Thread(target=site.get, args=("/",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans.sort()
    assert len(spans) == 5
    for (began, ended), (following, _) in itertools.pairwise(spans):
        assert following - ended >= (ended - began) * 0.9


def test_health_and_style_wait_for_no_page(site, monkeypatch):
    async def slow(_sources):
        await asyncio.sleep(1)
        raise ZeroDivisionError

    monkeypatch.setattr(reading, "overview", slow)
    thread = threading.Thread(target=site.ask, args=("/",))
    thread.start()
    time.sleep(0.1)
    began = time.monotonic()
    assert site.get("/healthz").body == b"ok"
    assert site.get("/style.css").status == 200
    assert time.monotonic() - began < 0.7
    thread.join()


def test_mail_is_taken_at_once_while_the_page_is_hammered(daemon):
    daemon.configure(
        "[status]\nlisten = 127.0.0.1:0\n[notification]\nsmtp_enabled = true\nsmtp_from = b@example.com\n"
    ).start()
    link = daemon.wait_log(r"status page: http://127\.0\.0\.1:(\d+)(/\?token=\S+)")
    address, token = ("127.0.0.1", int(link[1])), link[2].partition("=")[2]
    headers = {"Authorization": f"Bearer {token}"}
    for n in range(60):
        daemon.send(f"Subject: m{n}\r\n\r\nx\r\n".encode())
    stop, asked = threading.Event(), []

    def hammer(path):
        while not stop.is_set() and len(asked) < 5000:
            with contextlib.suppress(OSError):
                asked.append(ask(address, path, headers=headers).status)

    paths = ("/", "/queue", "/history", "/outbox", "/search?q=m", "/api/history?limit=1000", "/healthz", "/metrics")
    threads = [threading.Thread(target=hammer, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    times = []
    try:
        for n in range(100):
            began = time.monotonic()
            daemon.send(f"Subject: n{n}\r\n\r\nx\r\n".encode())
            times.append(time.monotonic() - began)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(asked) > 20
    assert set(asked) <= {200, 503}
    assert statistics.median(times) < 0.25, sorted(times)[-20:]
    assert max(times) < 5, sorted(times)[-5:]
    wait_for(lambda: len(daemon.outbox()) == 160, "every mail in the outbox")


def is_cut_off(sock):
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_connections_that_only_stand_there_are_bounded_and_end(site, monkeypatch):
    monkeypatch.setattr(connection, "REQUEST_TIME", 3.0)
    idle = []
    for _ in range(2 * connection.MAX_CONNECTIONS + 20):
        sock = socket.create_connection(site.address, 5)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        idle.append(sock)
    wait_for(lambda: sum(map(is_cut_off, idle)) == 20, "those beyond cut off at once", 2.0)
    open_ones = site.page._server._state.connections
    assert len(open_ones) == 2 * connection.MAX_CONNECTIONS
    with contextlib.suppress(OSError):
        assert site.ask("/").status == 503
    wait_for(lambda: not open_ones, "all of them cut off")
    assert site.get("/").status == 200
    for sock in idle:
        sock.close()


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 600,
        b"EHLO x\r\nMAIL FROM:<a@b.c>\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_without_a_word_in_the_log(site, octets, caplog, monkeypatch):
    monkeypatch.setattr(connection, "REQUEST_TIME", 1.0)
    with socket.create_connection(site.address, 10) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(octets)
        line = b""
        with contextlib.suppress(OSError):
            line = sock.makefile("rb").readline()
        assert line == b"" or line.split()[1] in (b"400", b"401"), line
    assert site.get("/healthz").body == b"ok"
    assert [record.getMessage() for record in caplog.records] == []


def test_a_request_with_a_body_ends_its_connection(site):
    """What follows a body that nobody reads is not taken for a request."""
    with socket.create_connection(site.address, 10) as sock:
        began = time.monotonic()
        sock.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\nGET /healthz HTTP/1.1\r\n"
        )
        answer = b""
        with contextlib.suppress(OSError):
            while piece := sock.recv(65536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 405 ")
        assert answer.count(b"HTTP/1.1") == 1
        assert time.monotonic() - began < 3


def test_a_mail_that_leaves_while_it_is_read_is_no_fault_of_ours(site, caplog):
    entry = site.put(b"Subject: x\r\n\r\n" + b"0123456789abcdef" * 4096 * 512)
    with socket.create_connection(site.address, 10) as sock:
        line = f"GET /mail/{entry.id}/source HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {site.token}\r\n\r\n"
        sock.sendall(line.encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
        site.finish(entry)
        received = 0
        with contextlib.suppress(OSError):
            while piece := sock.recv(1 << 20):
                received += len(piece)
    assert received < 4096 * 512 * 16
    assert [record.getMessage() for record in caplog.records] == []
    assert site.get("/healthz").body == b"ok"


def test_a_large_source_streams(site):
    octets = b"Subject: x\r\n\r\n" + b"0123456789abcdef" * 4096 * 64
    entry = site.put(octets)
    assert site.get(f"/mail/{entry.id}/source").body == octets
    page = site.get(f"/mail/{entry.id}").text
    assert "The rest of this part is not shown" in page
    assert len(page) < 200_000
    with socket.create_connection(site.address, 10) as sock:
        sock.sendall(
            f"GET /mail/{entry.id}/source HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {site.token}\r\n\r\n".encode()
        )
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
        assert site.get("/queue").status == 200, "a reader who is slow keeps no page from others"
