"""A mail refused as suspected spam is tried once more in the other encoding, where the profile allows it."""

from dataclasses import replace

import pytest

from relay.address import parse
from relay.entry import Disposition, Outcome, State
from relay.mime import encoding_of
from relay.policy import Policy
from relay.prepare import Setting, prepare
from relay.profiles import DEFAULT, Profile
from relay.reply import Reply
from relay.routing import Upstream

SPAM = Outcome("", "", Disposition.REFUSED, Reply(554, "5.7.1", "Message rejected as spam by Content Filtering"))
NEVER = Outcome("", "", Disposition.REFUSED, Reply(550, "5.1.1", "unknown user"))
OK = Outcome("", "", Disposition.RELAYED, Reply(250, "2.0.0", "ok"))
TEXT = "Subject: [Harbour] #12: Kran klemmt\r\nFrom: trac@example.com\r\nMessage-ID: <12@x>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße aus dem Hafen\r\n"


class Sent:
    """What left at each try: its encoding and Message-ID."""

    def __init__(self, house, answers, **policy):
        self.house, self.tries = house(), []
        given = Policy(smtp_enabled=True, smtp_from=parse("bugs@example.com"), **policy)
        setting = Setting((Profile(DEFAULT, given, Upstream("up")),), "gw.example.com", "gw.example.com")
        self.house.prepared = lambda entry, body: self._noted(prepare(entry, body, setting))
        self.house.answers = {f"{name}@example.org": list(said) for name, said in answers.items()}
        self.house.mail("m1", *self.house.answers)
        self.house.spool.bodies["m1"] = TEXT.encode()

    def _noted(self, prepared):
        [(_, mail)] = prepared.routed
        self.tries.append((encoding_of(mail.message), mail.message.text("message-id")))
        return prepared

    def ends(self):
        async def story():
            await self.house.pass_time(3600)

        self.house.run(story)
        entry = self.house.spool.entry("m1")
        return entry, {outcome.address: str(outcome.disposition) for outcome in entry.answered}


@pytest.mark.parametrize(("first", "second"), [("base64", "quoted-printable"), ("qp", "base64"), ("none", "base64")])
def test_the_other_encoding_brings_it_through(house, first, second):
    sent = Sent(house, {"eve": [SPAM, OK], "ann": [OK]}, mime_encoding=first, retry_encoding=True)
    entry, ends = sent.ends()
    assert (entry.state, set(ends.values())) == (State.DONE, {"relayed"})
    assert [encoding for encoding, _ in sent.tries] == [
        {"qp": "quoted-printable", "none": "8bit"}.get(first, first),
        second,
    ]
    assert len({message_id for _, message_id in sent.tries}) == 1, "the same Message-ID"
    assert sent.house.tried[1][1] == ["eve@example.org"], "who has it does not get it again"
    [said] = [event for event in entry.events if event.kind == "encoding"]
    assert said.text.startswith(
        "suspected of spam (554 5.7.1 Message rejected as spam by Content Filtering): once more in "
    )
    assert not [e for e in sent.house.spool.entries() if e.report]


def test_a_second_suspicion_is_the_answer(house):
    sent = Sent(house, {"eve": [SPAM]}, retry_encoding=True)
    entry, ends = sent.ends()
    assert (entry.state, ends) == (State.DONE, {"eve@example.org": "refused"})
    assert len(sent.house.tried) == 3, "twice the mail, and its report"


def test_without_the_option_it_is_refused_at_once_and_the_history_says_what_may_help(house):
    sent = Sent(house, {"eve": [SPAM]})
    entry, ends = sent.ends()
    assert ends == {"eve@example.org": "refused"}
    assert [event.kind for event in entry.events if event.kind in ("encoding", "advice")] == ["advice"]


def test_another_refusal_is_no_suspicion(house):
    sent = Sent(house, {"eve": [NEVER]}, retry_encoding=True)
    entry, ends = sent.ends()
    assert ends == {"eve@example.org": "refused"}
    assert {event.kind for event in entry.events}.isdisjoint({"encoding", "advice"})


def test_what_a_rule_refuses_is_no_suspicion(house):
    from relay.entry import Cause
    from relay.secondtry import suspected

    assert suspected(SPAM)
    assert not suspected(replace(SPAM, cause=Cause.RULE))
    assert not suspected(replace(SPAM, disposition=Disposition.DEFERRED))
