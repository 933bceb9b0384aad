"""Errors as plain pages, health as a word, metrics."""

import re

import pytest

from relay.entry import Cause
from relay.known import HopState
from relay.reply import Reply
from tests.web.seen import Seen, mail


@pytest.mark.parametrize(
    "path",
    [
        "/queue?state=x",
        "/queue?state=done",
        "/queue?limit=0",
        "/queue?limit=-1",
        "/queue?limit=x",
        "/queue?beyond=%00",
        "/queue?beyond=../x",
        f"/search?q={'x' * 201}",
        "/outbox?beyond=x",
        "/api/queue?limit=99999",
        "/api/history?state=queued",
    ],
)
def test_what_is_not_understood_is_said_so(site, path):
    answer = site.get(path, 400)
    if path.startswith("/api/"):
        assert set(answer.json) == {"error"}
    else:
        assert Seen(answer.text).words.startswith("Bad request Bad request")


def test_other_errors_are_plain_pages(site):
    assert "Not here" in Seen(site.get("/nowhere", 404).text).words
    assert site.get("/api/nowhere", 404).json == {"error": "There is no such page, or the mail is no longer known."}
    assert "only" in Seen(site.ask("/", method="POST").text).words.lower()


def test_a_fault_of_ours_is_a_plain_500_and_one_line(site, monkeypatch, caplog):
    from relay.web import reading

    async def broken(*_arguments, **_more):
        raise RuntimeError("planted </pre>\nsecond line")

    monkeypatch.setattr(reading, "overview", broken)
    for path in ("/", "/api/status"):
        answer = site.get(path, 500)
        assert "planted" not in answer.text
        assert "Traceback" not in answer.text
        assert "RuntimeError" not in answer.text
    lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert lines == [
        "fault in status page /: RuntimeError: planted </pre>\\nsecond line",
        "fault in status page /api/status: RuntimeError: planted </pre>\\nsecond line",
    ]
    assert site.get("/queue").status == 200


def test_metrics_are_counters_and_gauges(site):
    from relay import journal

    journal.COUNTERS["accepted"] += 1
    site.put(mail("x"))
    lines = site.get("/metrics").text.splitlines()
    assert 'tracker_relay_mails{state="queued"} 1' in lines
    assert any(re.fullmatch(r'tracker_relay_events_total\{event="accepted"\} \d+', line) for line in lines)
    for line in lines:
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+\{\w+="\w+"\} \d+', line), line


def test_health_is_a_word(site, monkeypatch):
    from relay.errors import SpoolFull
    from relay.web import health

    assert (site.get("/healthz").body, site.get("/healthz").headers["Content-Type"]) == (
        b"ok",
        "text/plain; charset=utf-8",
    )
    site.refusing = "stopping"
    assert site.get("/healthz", 503).body == b"stopping"
    site.refusing = ""

    async def full(*_arguments):
        raise SpoolFull

    monkeypatch.setattr(site.spool, "remember", full)
    assert site.get("/healthz").body == b"ok", "looked at a moment ago"
    monkeypatch.setattr(health, "FRESH", 0.0)
    assert site.get("/healthz", 503).body == b"spool"
    monkeypatch.undo()
    monkeypatch.setattr(health, "FRESH", 0.0)
    assert site.get("/healthz").body == b"ok"


def test_readyz_says_for_whom_no_next_hop_works(make_site):
    site = make_site(
        "[notification]\nsmtp_enabled = true\nsmtp_from = b@example.com\nupstream = main, spare\n"
        "[upstream:main]\nserver = a.example.com\n[upstream:spare]\nserver = b.example.com\n"
    )
    down = HopState(0.0, 0, site.now, Reply(535, "5.7.8", "wrong\npassword"), Cause.AUTH)
    assert site.ask("/readyz", token=False).status == 401
    assert site.get("/readyz").body == b"ok"
    site.hops["main"] = down
    assert site.get("/readyz").body == b"ok", "the spare one works"
    assert 'tracker_relay_upstream_up{upstream="main"} 0' in site.get("/metrics").body.decode()
    assert 'tracker_relay_upstream_up{upstream="spare"} 1' in site.get("/metrics").body.decode()
    site.hops["spare"] = down
    said = site.get("/readyz", 503).body.decode()
    assert said == "notification: main: 535 5.7.8 wrong password; spare: 535 5.7.8 wrong password"
    assert site.get("/healthz").body == b"ok", "mail is taken all the same"
    site.refusing = "stopping"
    assert site.get("/readyz", 503).body.decode().splitlines()[0] == "stopping"
