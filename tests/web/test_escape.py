"""Nothing of a mail or a peer is ever more than text on the pages, and no secret is on them."""

import html
import json

from relay.entry import Cause, Disposition, Event, State
from relay.known import HopState
from relay.reply import Reply
from tests.web.conftest import attempt, deferred, outcome
from tests.web.seen import crawl, mail, see

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;{{7*7}}{% x %}"
HIDDEN = "\u202egnp.exe\x1b[31m\x00\u200b\u2028\udcff"


def hostile_mail():
    return (
        f'From: "{EVIL}" <eve@example.com>\r\nTo: {EVIL}\r\nSubject: {EVIL} {HIDDEN[:2]}\r\n'
        f"X-<b>{'y' * 5}</b>: {EVIL}\r\nX-Long: {'x' * 10_000}\r\nMessage-ID: <{EVIL}@x>\r\nDate: {EVIL}\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\nContent-Type: text/plain\r\n\r\n"
        f"</pre>{EVIL}{HIDDEN}\r\n--B\r\nContent-Type: text/html\r\n\r\n<h1>{EVIL}</h1><!-- x\r\n"
        f'--B\r\nContent-Type: image/<b>; name="{EVIL.replace(chr(34), "")}"\r\n\r\nx\r\n'
        f"--B\r\nContent-Type: image/svg+xml\r\nContent-Disposition: attachment; filename*=utf-8''%3Cscript%3Ealert(9)%3C%2Fscript%3E\r\n\r\n<svg/>\r\n--B--\r\n"
    ).encode("utf-8", "surrogateescape")


def test_hostile_mail_and_peers_are_text_on_every_page(site):
    octets = hostile_mail()
    evil = {"summary": EVIL + HIDDEN, "message_id": f"<{EVIL}@x>", "reason": EVIL + HIDDEN, "profile": EVIL}
    to = ['"<script>x</script>"@example.org', "eve@example.org"]
    events = (Event(1.0, EVIL, EVIL + HIDDEN), Event(2.0, "rule", EVIL))
    tried = attempt(3.0, deferred(EVIL, text=EVIL + HIDDEN, host=EVIL, cause=Cause.PEER), tls=EVIL)
    site.put(octets, to=to, events=events, attempts=(tried,), refused_paths=(EVIL,), **evil)
    site.put(octets, to=to, events=events, attempts=(tried,), state=State.HELD, **evil)
    ended = [
        outcome(EVIL, text=EVIL + HIDDEN, host=EVIL, what=what, rule=EVIL)
        for what in (Disposition.REFUSED, Disposition.DROPPED)
    ]
    site.finish(site.put(octets, to=to, **evil), *ended, attempts=(tried,), events=events)
    name = site.capture(octets, to, "eve@example.org")
    (site.outbox / "envelope" / f"{name}.json").write_text(
        json.dumps({"from": EVIL, "to": [{"address": EVIL}, EVIL, {}]})
    )
    site.hops["notification"] = HopState(1.0, 0, 2.0, Reply(451, "4.4.1", EVIL + HIDDEN), Cause.CONNECT)
    seen = crawl(site)
    assert {"/queue", "/history", "/outbox", "/api/status", "/metrics", f"/outbox/{name}"} <= set(seen)
    assert sum(path.startswith("/mail/") and path.endswith("/source") for path in seen) == 2
    pages = [answer.text for answer in seen.values() if answer.headers["Content-Type"].startswith("text/html")]
    assert len(pages) >= 12
    for page in pages:
        assert all(c.isprintable() or c in "\n" for c in page), "what no eye sees is shown by its escape"
    everything = html.unescape("".join(pages))
    assert everything.count(EVIL) > 20, "and it is shown, not thrown away"
    assert "<script>alert(9)</script>" in everything
    assert "\\u202egnp.exe\\x1b[31m\\x00\\u200b\\u2028\\udcff" in everything
    search = see(site, "/search?q=%3Cscript%3Ealert(1)%22%3E")
    assert '<script>alert(1)">' in search.words


def test_no_secret_is_on_any_page(site):
    site.put(mail("Crane"))
    site.finish(site.put(mail("Crane 2")), outcome())
    for path, answer in crawl(site).items():
        assert b"hunter2" not in answer.body, path
        assert site.token.encode() not in answer.body, path
        assert site.page._access.cookie.encode() not in answer.body, path
