"""How much a next hop is asked: places in a minute, recipients in a day, and whose limits hold."""

import json
import random

import pytest

from relay.entry import Cause
from relay.holds import PROBE, Holds
from relay.inheriting import inherited
from relay.manners import PROVIDERS, Day, Manners, MannersOptions, Minute, faults, manners_of, provider_of
from relay.pool import AUTH_PAUSE, LONGEST_PAUSE, PROOF, Pool
from relay.refusals import About
from relay.reply import Reply
from relay.routing import NextHopOptions

NO = Reply(451, "4.4.1", "no")
HOUR = 3600.0


def test_any_sixty_seconds_hold_at_most_so_many_mails():
    dice, minute, now, begun = random.Random(1), Minute(30), 1000.0, []
    for _ in range(500):
        now += dice.random() * 3
        if minute.wait(now) < 60:
            begun.append(now + minute.take(now))
    assert begun == sorted(begun), "in the order in which they came"
    assert all(later - first >= 59.999999 for first, later in zip(begun, begun[30:], strict=False))
    assert len(begun) > 400, "and no fewer than it may"


def test_those_behind_come_back_in_their_order_when_their_turn_comes():
    minute = Minute(30)
    for _ in range(60):
        minute.take(0.0)
    waits = [minute.stand_behind(0.0) for _ in range(5)]
    assert waits == [60.0 + 60.0 + 2 * n for n in range(1, 6)]
    assert minute.take(200.0) == 0.0


def test_a_day_glides_and_counts_recipients():
    day, start = Day(100), 1_700_000_000 // 3600 * HOUR
    for hour in range(4):
        assert day.wait(start + hour * HOUR, 25) == 0.0
        day.take(start + hour * HOUR, 25)
    now = start + 3.5 * HOUR
    assert day.wait(now, 1) == pytest.approx(20.5 * HOUR), "as the oldest hour leaves the day"
    assert day.wait(now, 30) == pytest.approx(21.5 * HOUR)
    assert day.wait(now, 101) == 24 * HOUR, "never fits"
    assert day.wait(start + 24.1 * HOUR, 25) == 0.0


def test_what_is_on_disk_never_says_less_than_what_was_sent():
    day, now, kept, sent, writes = Day(1000), 1e9, "{}", 0, 0
    for _ in range(300):
        if day.take(now, 3):
            kept, writes = day.kept(now), writes + 1
        sent += 3
        again = Day(1000)
        again.restore(kept)
        assert sent <= again.used(now) <= sent + 10, "a crash at this moment"
    assert writes <= 100
    again = Day(1000)
    again.restore(day.kept(now, exact=True))
    assert again.used(now) == sent


@pytest.mark.parametrize("kept", ["", "[]", "{", '{"x": 1}', '{"1": null}', "null"])
def test_a_count_that_can_not_be_read_is_none(kept):
    day = Day(10)
    day.restore(kept)
    assert day.used(1e9) == 0


def test_a_clock_set_back_takes_no_count_from_the_future():
    day = Day(10)
    day.take(1e9, 10)
    assert day.used(1e9 - 7200) == 0


@pytest.mark.parametrize(
    ("server", "user", "provider"),
    [
        ("smtp.office365.com", "bugs@contoso.example", "microsoft"),
        ("SMTP.Office365.COM.", "", "microsoft"),
        ("smtp.gmail.com", "somebody@gmail.com", "gmail"),
        ("smtp.gmail.com", "bugs@example.com", "workspace"),
        ("smtp.gmail.com.example.org", "", ""),
        ("mail.example.com", "somebody@gmail.com", ""),
    ],
)
def test_whose_server_it_is(server, user, provider):
    assert provider_of(server, user) == provider


def test_a_providers_limits_hold_unless_others_are_given():
    made = manners_of(MannersOptions(), "smtp.office365.com", "bugs@contoso.example")
    assert (made.connections, made.per_minute, made.per_day) == (3, 30, 10000)
    made = manners_of(MannersOptions(mails_per_minute=0, connections=2), "smtp.office365.com", "")
    assert (made.connections, made.per_minute, made.per_day) == (2, 0, 10000)
    assert manners_of(MannersOptions(limits="none"), "smtp.office365.com", "") == Manners()
    assert manners_of(MannersOptions(limits="microsoft"), "relay.example.com", "").per_minute == 30
    assert manners_of(MannersOptions(), "mail.example.com", "") == Manners()
    assert all(p.source.startswith("https://") and p.servers for p in PROVIDERS.values())
    assert faults(MannersOptions(canary=5.0)) and not faults(MannersOptions(canary=None))


# --- the pool ------------------------------------------------------------------------------------------


class Link:
    usable, has_room, pace, choked = True, False, 0.0, False

    def __init__(self, retires_at=1e9):
        self.waiting, self.mails, self.retires_at = 0, 0, retires_at


def opened(pool, now, number=1):
    for _ in range(number):
        assert pool.may_connect(now)
        pool.links.append(Link())
        pool.worked(now)
        pool.links[-1].waiting = 1
    return pool


def test_no_more_connections_than_the_manners_say():
    pool = opened(Pool(Manners(connections=3)), 0.0, 3)
    assert not pool.may_connect(0.0)
    assert pool.choose(0.0) is None


def test_a_connection_that_has_carried_enough_or_is_old_takes_no_more():
    pool = Pool(Manners(mails=2))
    pool.links = [Link(), Link(retires_at=50.0)]
    pool.links[0].mails = 2
    assert pool.choose(49.0) is pool.links[1]
    assert pool.choose(50.0) is None
    assert len(pool.spent(50.0)) == 2
    assert pool.links == []


def test_the_first_connection_after_a_while_is_made_alone():
    """A password that was changed meanwhile is refused once, not by each of twenty connections."""
    pool = Pool(Manners())
    assert pool.may_connect(0.0)
    pool.connecting = 1
    assert not pool.may_connect(0.0)
    pool.worked(0.0)
    assert pool.may_connect(0.0)
    assert not pool.may_connect(PROOF)


def test_after_a_failure_connections_come_one_by_one():
    pool = Pool(Manners())
    pool.failed(0.0, NO, Cause.CONNECT)
    assert pool.blocked(0.5) and not pool.blocked(1.0)
    opened(pool, 2.0)
    assert not pool.may_connect(2.0) and pool.choose(2.0) is None
    pool.carried()
    opened(pool, 2.0)
    assert not pool.may_connect(2.0)
    for _ in range(20):
        pool.carried()
    opened(pool, 2.0, 18)


def test_a_wrong_password_is_tried_once_a_minute():
    pool = Pool(Manners())
    pool.failed(0.0, Reply(535, "5.7.8", "no"), Cause.AUTH)
    assert pool.blocked(AUTH_PAUSE - 1) and not pool.blocked(AUTH_PAUSE)


def test_who_says_that_it_is_too_much_is_asked_half_and_left_alone_for_as_long_as_it_says():
    pool = opened(Pool(Manners()), 0.0, 8)
    pool.slow_down(0.0, NO, 90.0)
    pool.slow_down(1.0, NO, 500.0)
    pool.worked(2.0)
    assert pool.blocked(89.0) and not pool.blocked(90.0), "a connection that stands meanwhile is no answer to that"
    for link in pool.links:
        link.waiting = 0
    assert pool.choose(90.0) is not None
    for link in pool.links[:4]:
        link.waiting = 1
    assert pool.choose(90.0) is None, "four at a time now"
    pool.carried()
    assert pool.choose(90.0) is not None


def test_a_further_connection_that_is_refused_leaves_the_others_in_use():
    pool = Pool(Manners())
    assert not pool.full(0.0), "the first one: that is a failure"
    opened(pool, 0.0, 2)
    assert pool.full(0.0)
    assert not pool.may_connect(LONGEST_PAUSE - 1) and not pool.blocked(0.0)
    assert pool.may_connect(LONGEST_PAUSE + PROOF)


def test_another_limit_of_a_minute_keeps_the_places_that_are_taken():
    minute = Minute(3)
    assert [minute.take(now) for now in (0.0, 1.0, 2.0)] == [0.0, 0.0, 0.0]
    minute.limit(2)
    assert minute.wait(3.0) == 58.0
    minute.limit(4)
    assert [minute.take(3.0) for _ in range(3)][:2] == [0.0, 0.0]
    assert minute.wait(4.0) > 0


# --- holds ---------------------------------------------------------------------------------------------


def test_a_hold_keeps_one_senders_mail_and_lets_one_try_now_and_then():
    holds, no = Holds(), Reply(554, "5.2.252", "SendAsDenied")
    assert holds.begin(About.SENDER, "a@x", no, 0.0, 1e9) is not None
    assert holds.begin(About.SENDER, "a@x", no, 1.0, 1e9) is None, "no news"
    assert holds.keeps(2.0, "b@x") is None
    assert holds.keeps(PROBE, "a@x").reply == no
    assert holds.keeps(1.0 + PROBE, "a@x") is None, "this one tries"
    assert holds.keeps(1.0 + PROBE, "a@x") is not None, "and no other beside it"
    holds.forgive()
    assert holds.keeps(2000.0, "a@x") is None
    assert [hold.sender for hold in holds.end("a@x")] == ["a@x"]
    assert not holds


def test_a_refused_null_sender_keeps_reports_here_and_nobody_elses_mail():
    holds, no = Holds(), Reply(553, "5.7.1", "Sender address rejected: not owned by user bugs")
    hold = holds.begin(About.SENDER, "", no, 0.0, 1e9)
    assert "mail from <> waits" in str(hold)
    assert holds.keeps(1.0, "a@x") is None
    assert holds.keeps(1.0, "") is hold
    assert holds.end("a@x") == [], "whose mail is taken shows nothing about reports"
    assert holds.end("") == [hold]


def test_a_report_can_find_out_as_well_whether_the_day_is_over():
    holds = Holds()
    holds.begin(About.QUOTA, "", Reply(550, "5.4.5", "Daily limit"), 0.0, 1e9)
    assert holds.keeps(1.0, "a@x") is not None
    assert holds.keeps(PROBE + 1.0, "") is None, "this one tries"
    assert holds.keeps(PROBE + 2.0, "") is not None


def test_a_day_that_is_used_up_keeps_everybodys():
    holds = Holds()
    hold = holds.begin(About.QUOTA, "a@x", Reply(550, "5.4.5", "Daily limit"), 0.0, 1e9)
    assert "all its mail" in str(hold)
    assert holds.keeps(1.0, "b@x") is hold
    assert holds.end("b@x") == [hold]


def test_limits_are_inherited_for_the_same_server_and_log_in_only():
    base = NextHopOptions(smtp_server="mail.example.com", smtp_user="bugs", manners=MannersOptions(connections=2))
    assert inherited(base, {}, {}, {"mails_per_minute": 5}).manners == MannersOptions(connections=2, mails_per_minute=5)
    assert inherited(base, {"smtp_server": "other.example.com"}, {}, {}).manners == MannersOptions()
    assert inherited(base, {"smtp_user": "eve"}, {}, {}).manners == MannersOptions()


def test_what_is_given_back_leaves_what_is_kept_ahead_of_the_count():
    day = Day(1000)
    assert day.take(0.0, 8) and not day.take(3700.0, 2)
    kept = day.kept(3700.0)
    day.give_back(5)
    assert (day.used(3700.0), day.kept(3700.0, exact=True)) == (5, '{"0": 5, "1": 0}')
    assert sum(json.loads(day.kept(3700.0)).values()) == sum(json.loads(kept).values()) >= 10
    day.give_back(100)
    assert day.used(3700.0) == 0
