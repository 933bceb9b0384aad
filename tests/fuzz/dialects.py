"""Any mail is read by one dialect without a fault, and alike however its header's names are cased; nobody is proved a reporter whom the configuration does not know.

What trackers' mail says about itself (`relay/dialects/`).
"""

import re

from relay import mime
from relay.dialects import DIALECTS, Facts, Person, facts_of, proves_reporter
from relay.message import parse_bytes
from tests.fuzz.mails import TOKENS as MAIL
from tests.fuzz.mails import seeds
from tests.properties.test_corpus import USERS

NAME = "dialects"
SHARE = 1
CASES = 1200
TOKENS = (
    *MAIL, b"X-Trac-Version: 1.6\r\n", b"X-Trac-Ticket-URL: http://t/h/ticket/12#comment:3\r\n", b"X-Redmine-Issue-Id: 3\r\n", b"X-Redmine-Sender: x\r\n", b"X-Bugzilla-Type: changed\r\n", b"X-Bugzilla-Who: x@y\r\n",
    b"X-GitLab-Issue-ID: 1\r\n", b"X-GitLab-Author: x\r\n", b"RT-Ticket: x #1\r\n", b"X-JIRA-FingerPrint: x\r\n", b"X-Mailer: MantisBT\r\n", b"#12: x", b" * status:  new => closed\r\n",
    b" Reporter:  dana           |      Owner:  luc\r\n", b"Comment (by luc):\r\n", b"-----+-----\r\n", b"Ticket URL: <http://x/ticket/1>\r\n", b"[issue12]", b"In-Reply-To: <x.1.2@y>\r\n",
)  # fmt: skip
__all__ = ["CASES", "NAME", "SHARE", "TOKENS", "check", "seeds"]


def check(data):
    """One mail, twice."""
    message = parse_bytes(data)
    facts = read(message)
    readers = [dialect for dialect in DIALECTS if dialect.recognises(message)]
    assert readers
    for name in ("tracker", "project", "ticket", "event", "event_key"):
        assert isinstance(getattr(facts, name), str)
    for name in ("reporter", "owner", "updater", "previous_owner"):
        who = getattr(facts, name)
        assert who is None or (isinstance(who, Person) and who.shown == who.shown.strip() and who.shown)
    proved = proves_reporter(message, facts, USERS)
    assert set(proved) <= set(USERS)
    cased = [
        re.sub(rb"\A[!-9;-~]+(?=[ \t]*:)", lambda found: found[0].swapcase(), field.raw) for field in message.fields
    ]
    rest = bytes(message)[sum(map(len, cased)) :]
    assert read(parse_bytes(b"".join(cased) + rest)) == facts, "the case of a field's name decides"
    assert facts == read(parse_bytes(data)), "not the same again"
    return 1


def read(message):
    facts = facts_of(message, lambda: mime.text_of(message))
    assert isinstance(facts, Facts)
    return facts
