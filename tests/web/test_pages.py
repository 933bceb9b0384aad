"""What the pages show."""

from relay.entry import Cause, Disposition, Event, State
from relay.errors import SpoolFull
from relay.known import HopState
from relay.reply import Reply
from tests.web.conftest import attempt, deferred, outcome
from tests.web.seen import crawl, mail, see


def test_the_first_page_says_it_in_one_sentence(site):
    assert "No mail waits, and none has come lately." in see(site, "/").words
    site.finish(site.put(mail("one"), summary="one"), outcome())
    assert "All mail is delivered." in see(site, "/").words
    for number in range(3):
        tried = attempt(site.now, deferred())
        site.put(
            mail(f"m{number}"),
            summary=f"m{number}",
            attempts=(tried,),
            reason="eve@example.org: 535 5.7.8 bad credentials",
        )
    site.now += 2 * 3600
    sentence = "3 mails wait, the oldest for 2 h, because mail.example.com:587 refuses the user or the password (535 5.7.8 bad credentials)."
    page = see(site, "/")
    assert sentence in page.words
    assert site.get("/api/status").json["sentence"] == sentence
    assert "The oldest queued mail: m0" in page.words
    site.put(mail("h"), state=State.HELD, reason="by an administrator")
    page = see(site, "/")
    assert "1 mail is held until you decide: by an administrator." in page.words
    form = site.get("/api/status").json
    assert (form["level"], form["counts"]) == ("trouble", {"queued": 3, "held": 1, "done": 1})


def test_next_hops_with_their_last_fault(site):
    assert "mail.example.com:587 starttls unused since the start" in see(site, "/").words
    site.hops["notification"] = HopState(site.now, 2)
    assert "mail.example.com:587 starttls works last used 2025-10-09" in see(site, "/").words
    site.hops["notification"] = HopState(0.0, 0, site.now, Reply(535, "5.7.8", "no such user"), Cause.AUTH)
    assert "auth 2025-10-09 08:53:20: 535 5.7.8 no such user" in see(site, "/").words
    [hop] = site.get("/api/status").json["next_hops"]
    assert (hop["server"], hop["port"], hop["trouble"], hop["cause"]) == (
        "mail.example.com",
        587,
        "535 5.7.8 no such user",
        "auth",
    )


def test_a_paused_next_hop_says_who_paused_it(site):
    site.hops["notification"], site.paused = HopState(site.now, 2), "paused by <admin>"
    assert "paused paused by <admin>: its mail waits" in see(site, "/").words
    [hop] = site.get("/api/status").json["next_hops"]
    assert hop["paused"] == "paused by <admin>"


def test_dropping_everything_is_loud(make_site):
    site = make_site("[notification]\nsmtp_enabled = false\nsmtp_from = b@example.com\n")
    site.finish(site.put(mail("x")), outcome(what=Disposition.DROPPED))
    page = see(site, "/")
    assert "smtp_enabled is false: EVERY notification is accepted and dropped." in page.words
    assert site.get("/api/status").json["level"] == "alarm"


def test_a_full_spool_is_said_before_all_else(site, monkeypatch):
    def full(_octets):
        raise SpoolFull("spool: the disk is full")

    monkeypatch.setattr(site.spool, "room", full)
    assert "No new mail is taken: spool: the disk is full." in see(site, "/").words
    assert site.get("/api/status").json["level"] == "alarm"


def test_one_mails_life(site):
    at = site.now + 1
    events = (
        Event(at, "accepted", "from 127.0.0.1"),
        Event(at + 1, "rule", "originator: From is Harbour <bugs@example.com>"),
    )
    tried = (
        attempt(
            at + 2, deferred("dana@example.com", cause=Cause.PEER, code=451, text="4.7.1 greylisted\ncome back"), tls=""
        ),
        attempt(at + 9, outcome("dana@example.com", text="2.0.0 queued as XYZ")),
    )
    text = (
        b"From: trac@localhost\r\nTo: dana@example.com\r\nSubject: #12: Crane jams\r\nMessage-ID: <1@x>\r\nX-Mailer: Trac 1.6\r\n"
        b"X-Trac-Project: Harbour\r\nContent-Transfer-Encoding: base64\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nVGhlIGNyYW5lIGphbXMg8J+Pl++4jw==\r\n"
    )
    entry = site.put(
        text, to=["dana@example.com", "luc"], events=events, attempts=tried, answered=(outcome("dana@example.com", text="2.0.0 queued as XYZ"),),
        summary="#12: Crane jams", message_id="<1@x>",
    )  # fmt: skip
    page = see(site, f"/mail/{entry.id}")
    for told in (
        "accepted from 127.0.0.1",
        "127.0.0.1, which calls itself tracker.example.com",
        "rule originator: From is Harbour <bugs@example.com>",
        "deferred dana@example.com by mail.example.com[192.0.2.1]:587 without TLS: 451 4.7.1 greylisted come back",
        "relayed dana@example.com by mail.example.com[192.0.2.1]:587 over TLSv1.3 starttls verified: 250 2.0.0 queued as XYZ",
        "next try",
        "luc the tracker waits",
        "subject_prefix Subject: #12: Crane jams Subject: [Harbour] #12: Crane jams",
        "originator From: trac@localhost",
        "The crane jams 🏗",
    ):
        assert told in page.words, (told, page.words)
    form = site.get(f"/api/mail/{entry.id}").json
    assert form["attempts"][0]["outcomes"][0]["reply"] == "451 4.7.1 greylisted come back"
    [prefix] = [row for row in form["rules"] if row["rule"] == "subject_prefix"]
    assert (prefix["removed"], prefix["added"]) == (
        ["Subject: #12: Crane jams"],
        ["Subject: [Harbour] #12: Crane jams"],
    )
    assert site.get(f"/mail/{entry.id}/source").body == text


def test_looking_changes_nothing(make_site):
    """An event's additions go out with its first mail: to look at one is not to send it."""
    site = make_site(
        "[notification]\nsmtp_enabled = true\nsmtp_from = b@example.com\nsmtp_always_cc = list@example.com\nsmtp_server = mail.example.com\n"
    )
    text = b"X-Mailer: Trac 1.6\r\nX-Trac-Ticket-ID: 12\r\nX-Trac-Project: P\r\nSubject: #12: x\r\nDate: Tue, 24 Nov 2026 18:00:00 -0000\r\n\r\nbody\r\n"
    first, second = site.put(text), site.put(text)
    before = site.run(site.spool.counts()), site.spool.commits
    for entry in (first, second):
        assert "list@example.com" in see(site, f"/mail/{entry.id}").words
    crawl(site)
    assert (site.run(site.spool.counts()), site.spool.commits) == before
    key = next(iter(site.run(_event_keys(site, first))))
    site.run(site.events.is_first(key, first.id))
    assert "always_cc" in see(site, f"/mail/{first.id}").words
    assert "always_cc" not in see(site, f"/mail/{second.id}").words


async def _event_keys(site, entry):
    from relay.prepare import event_key, read

    kept, body = await site.spool.peek(entry.id)
    return [event_key(read(kept, body, site.setting))]


def test_a_rule_that_fails_is_named(site, monkeypatch):
    from relay import rewrite
    from relay.web import reading

    def broken(*_arguments):
        raise ZeroDivisionError("planted <b>")

    monkeypatch.setattr(rewrite, "RULES", (("encoding", broken),))
    entry = site.put(mail("x"))
    assert "rule encoding: ZeroDivisionError('planted <b>')" in see(site, f"/mail/{entry.id}").words
    monkeypatch.setattr(reading, "read", broken)
    page = see(site, f"/mail/{entry.id}")
    assert "it can not be prepared: ZeroDivisionError('planted <b>')" in page.words
    assert "text/plain body" in page.words


def test_listings_search_and_pages(site):
    entries = [
        site.put(mail(f"m{n}"), summary=f"[Harbour] #{n}: crane", message_id=f"<{n}@x>", to=[f"p{n}@example.org"])
        for n in range(120)
    ]
    for entry in entries[:30]:
        site.finish(entry, outcome())
    for query, number in (
        ("%23100", 1),
        ("%2310", 1),
        ("p99@example.org", 1),
        ("%3C5@x%3E", 1),
        (entries[70].id, 1),
        ("CRANE", 50),
        ("not-there", 0),
    ):
        page = see(site, f"/search?q={query}")
        assert len({link for link in page.links if link.startswith("/mail/")}) == number, query
    assert "Nothing is known of that" in see(site, "/search?q=not-there").words
    walked, path, pages = [], "/queue", 0
    while path:
        page = see(site, path)
        walked += [link[6:] for link in page.links if link.startswith("/mail/")]
        pages += 1
        path = next((link for link in page.links if "beyond=1" in link and link.startswith("/queue")), "")
    assert walked == [entry.id for entry in reversed(entries[30:])]
    assert pages == 2
    oldest = site.get("/api/queue?order=oldest&limit=2").json
    assert [row["id"] for row in oldest["entries"]] == [entries[30].id, entries[31].id]
    following = site.get(f"/api/queue?order=oldest&limit=2&beyond={oldest['beyond']}").json
    assert [row["id"] for row in following["entries"]] == [entries[32].id, entries[33].id]
    assert len(site.get("/api/history?limit=1000").json["entries"]) == 30
    assert site.get("/api/queue?state=held").json == {"entries": [], "beyond": ""}
    assert site.get("/api/search?q=p99@example.org").json["entries"][0]["to"] == ["p99@example.org"]


def test_a_mail_to_a_thousand_that_was_tried_fifty_times_is_a_page_one_can_read(site):
    people = [f"p{n}@example.org" for n in range(1000)]
    tried = tuple(attempt(site.now + n, *(deferred(address) for address in people[:40])) for n in range(50))
    entry = site.put(mail("Crane"), to=people, attempts=tried)
    page = see(site, f"/mail/{entry.id}")
    assert page.words.count("535 5.7.8 bad credentials") == 50
    assert "p0@example.org, p1@example.org, p2@example.org and 37 more by mail.example.com[192.0.2.1]:587" in page.words
    assert page.words.count("p999@example.org") == 3, "as recipient, and with what the rules make of it and why"
