"""The state of the whole in one sentence, and the options of the page."""

import pytest

from relay.address import parse
from relay.entry import Attempt, Cause, Disposition, Entry, Outcome, State
from relay.mail import Envelope, Recipient
from relay.reply import Reply
from relay.status import Level, Picture, host, listens, since, standing

NOW = 1_000_000.0


def entry(
    *,
    age=60.0,
    cause=None,
    reply="451 4.4.1 refused",
    what=Disposition.DEFERRED,
    hop="mx.example.com[192.0.2.1]:25",
    **more,
):
    envelope = Envelope(parse("a@example.com"), (Recipient.accepted(parse("b@example.com")),))
    code, _, text = reply.partition(" ")
    outcome = Outcome(
        "rcpt:b@example.com", "b@example.com", what, Reply.read(int(code), text), hop, cause or Cause.PEER
    )
    given = {"attempts": (Attempt(NOW, "x", (outcome,)),)} if cause else {}
    if more.get("state") is State.DONE:
        given["answered"] = (outcome,)
    return Entry("0" * 15, NOW - age, envelope, **(given | more))


def told(**picture):
    given = {"now": NOW, "queued": 0, "held_number": 0}
    made = standing(Picture(**(given | picture)))
    return str(made.level), made.sentence, *made.more


@pytest.mark.parametrize(
    ("cause", "because"),
    [
        (Cause.AUTH, "mx.example.com:25 refuses the user or the password (451 4.4.1 refused)"),
        (Cause.TLS, "the connection to mx.example.com:25 is not secure (refused)"),
        (Cause.CONNECT, "mx.example.com:25 can not be reached (refused)"),
        (Cause.DNS, "the name of mx.example.com:25 is not found (refused)"),
        (Cause.TOKEN, "no token can be had for mx.example.com:25 (refused)"),
        (Cause.LOCAL, "there is trouble on this host (refused)"),
        (Cause.PEER, "mx.example.com:25 says 451 4.4.1 refused"),
    ],
)
def test_mail_that_waits_says_for_how_long_and_why(cause, because):
    assert told(queued=1, oldest=entry(age=130, cause=cause)) == (
        "trouble",
        f"1 mail waits, for 2 min, because {because}.",
    )
    sentence = f"1,234 mails wait, the oldest for 3 days, because {because}."
    assert told(queued=1234, oldest=entry(age=3.5 * 86400, cause=cause)) == ("trouble", sentence)


def test_mail_that_was_not_tried_yet_is_on_the_way():
    assert told(queued=2, oldest=entry()) == ("busy", "2 mails are on the way.")
    assert told(queued=1, oldest=entry()) == ("busy", "1 mail is on the way.")


def test_held_mail_wants_a_person():
    held = entry(state=State.HELD, reason="twice ambiguous; ask there.")
    assert told(held_number=1, held=held) == ("trouble", "1 mail is held until you decide: twice ambiguous; ask there.")
    assert told(held_number=7, held=held) == (
        "trouble",
        "7 mails are held until you decide; the oldest: twice ambiguous; ask there.",
    )
    assert told(held_number=7) == ("trouble", "7 mails are held until you decide.")


def test_the_worst_comes_first():
    picture = {
        "queued": 1,
        "oldest": entry(),
        "held_number": 1,
        "held": entry(reason="x"),
        "dropping": ["notification"],
    }
    assert told(**picture) == (
        "alarm",
        "smtp_enabled is false: EVERY notification is accepted and dropped.",
        "1 mail is on the way.",
        "1 mail is held until you decide: x.",
    )
    assert told(dropping=["orchard", "harbour"])[1].startswith(
        "smtp_enabled is false for orchard, harbour: EVERY notification of theirs"
    )
    assert standing(Picture(NOW, 1, 1, entry(), entry(reason="x"))).level is Level.TROUBLE


def test_a_full_spool_is_an_alarm():
    assert told(full="the disk is full", queued=1, oldest=entry()) == (
        "alarm",
        "No new mail is taken: the disk is full.",
        "1 mail is on the way.",
    )


def test_all_is_well():
    done = entry(state=State.DONE, what=Disposition.RELAYED)
    bad = entry(state=State.DONE, what=Disposition.REFUSED)
    assert told() == ("good", "No mail waits, and none has come lately.")
    assert told(last=[done]) == ("good", "All mail is delivered.")
    assert told(last=[done], into_outbox=True) == (
        "good",
        "All mail is kept in the outbox, since smtp_server names no mail server.",
    )
    assert told(last=[done, bad, bad]) == (
        "busy",
        "No mail waits, but 2 of the last 3 mails had a recipient who was refused.",
    )
    assert told(last=[bad]) == ("busy", "No mail waits, but the last mail had a recipient who was refused.")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (172_799, "47 h"),
        (172_800, "2 days"),
    ],
)
def test_durations_as_one_says_them(seconds, words):
    assert since(seconds) == words


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("LocalHost", "localhost"),
        ("a.example:80", "a.example"),
        ("a.example.", "a.example"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[0:0::1]:80", "::1"),
        ("::1", "::1"),
        ("my_host", "my_host"),
    ],
)
def test_a_host_with_and_without_port(text, name):
    assert host(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "a b",
        "http://x",
        "x/y",
        "a@b",
        "[::1",
        "::1]",
        "[x]",
        "a:b",
        "a:123456",
        "a:1:2",
        "-a",
        "ä.example",
        "[::1]x",
    ],
)
def test_what_is_no_host(text):
    with pytest.raises(ValueError):
        host(text)


def test_where_to_listen():
    assert listens("  ") == ()
    assert [str(one) for one in listens("127.0.0.1:8025, unix:/run/x.sock")] == ["127.0.0.1:8025", "unix:/run/x.sock"]
    for bad in ("8025", "systemd:page", "localhost"):
        with pytest.raises(ValueError):
            listens(bad)
