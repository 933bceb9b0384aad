"""What a refusal is about, in the words that providers use; and the pause that one asks for."""

import time

import pytest

from relay.refusals import About, about, asked_pause
from relay.reply import Reply

SENDER, QUOTA, RATE, SPAM, MAIL = About.SENDER, About.QUOTA, About.RATE, About.SPAM, About.MAIL


def said(line):
    return Reply.read(int(line[:3]), line[4:])


WORDS = [
    # Microsoft 365
    (SENDER, "554 5.2.252 SendAsDenied; bugs@contoso.example not allowed to send as eve@contoso.example; STOREDRV.Submission.Exception:SendAsDeniedException"),
    (SENDER, "550 5.7.60 SMTP; Client does not have permissions to send as this sender"),
    (SENDER, "550 5.1.8 Access denied, bad outbound sender AS(42004)"),
    (SENDER, "550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains"),
    (QUOTA, "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients"),
    (QUOTA, "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message"),
    (QUOTA, "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded"),
    (QUOTA, "550 5.7.233 Your message can't be sent because your tenant exceeded its external recipient rate"),
    (QUOTA, "550 5.7.705 Access denied, tenant has exceeded threshold"),
    (RATE, "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"),
    (RATE, "432 4.3.2 Concurrent connections limit exceeded."),
    (RATE, "451 4.7.500 Server busy. Please try again later from [192.0.2.1]."),
    # Google
    (QUOTA, "550 5.4.5 Daily user sending limit exceeded. For more information on Gmail sending limits go to"),
    (QUOTA, "550 5.4.5 Daily SMTP relay sending limit exceeded for user."),
    (QUOTA, "550 5.4.5 https://support.example.com/mail/?p=DailyLimitExceeded"),
    (QUOTA, "550 5.7.1 Daily SMTP relay limit exceeded for customer"),
    (RATE, "450 4.2.3 Peak SMTP relay limit exceeded for customer."),
    (RATE, "421 4.7.28 Our system has detected an unusual rate of mail originating from your IP address"),
    (RATE, "421 4.7.0 Try again later, closing connection."),
    (MAIL, "450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages"),
    (MAIL, "452 4.2.2 The email account that you tried to reach is over quota."),
    (MAIL, "552 5.2.2 The email account that you tried to reach is over quota."),
    # Amazon SES
    (SENDER, "554 Message rejected: Email address is not verified. The following identities failed the check in region US-EAST-1: bugs@example.com"),
    (QUOTA, "454 Throttling failure: Daily message quota exceeded."),
    (QUOTA, "554 Message rejected: Sending suspended for this account."),
    (RATE, "454 Throttling failure: Maximum sending rate exceeded."),
    # SendGrid and others
    (SENDER, "550 The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved."),
    (QUOTA, "451 You've exceeded your messaging limits"),
    (QUOTA, "451 Authentication failed: Maximum credits exceeded"),
    (SENDER, "550 5.7.0 From address is not one of your addresses."),
    (SENDER, "551 5.7.1 Not authorised to send from this header address"),
    (SENDER, "553 Relaying disallowed as bugs@example.com"),
    (SENDER, "550 Sender address is not allowed."),
    (SENDER, "501 5.5.4 You are not allowed to send from this address."),
    (QUOTA, "550 Domain example.com has exceeded the max emails per hour (126/100 (126%)) allowed. Message discarded."),
    (QUOTA, "554 5.7.1 <eve@example.org>: Recipient address rejected: You have exceeded your Outmail quota."),
    # Postfix, Exim and the usual filters
    (SENDER, "553 5.7.1 <bugs@example.com>: Sender address rejected: not owned by user eve"),
    (SENDER, "553 5.7.1 <bugs@example.com>: Sender address rejected: not logged in"),
    (RATE, "450 4.7.1 Error: too many mails from 192.0.2.1"),
    (RATE, "421 4.7.0 mx.example.org Error: too many connections from 192.0.2.1"),
    (MAIL, "450 4.7.1 <eve@example.org>: Recipient address rejected: Greylisted, see http://postgrey.example.org/help"),
    (MAIL, "451 4.7.1 Greylisting in action, please come back in 00:05:00"),
    (MAIL, "550 5.1.1 <eve@example.org>: Recipient address rejected: User unknown in virtual mailbox table"),
    (MAIL, "554 5.7.1 <eve@example.org>: Relay access denied"),
    (MAIL, "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org"),
    (MAIL, "550 5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy"),
    (MAIL, "550 5.7.1 SPF: 192.0.2.1 is not allowed to send mail from example.com"),
    (MAIL, "452 4.3.1 Insufficient system storage"),
    (SPAM, "554 5.7.1 Message rejected as spam by Content Filtering."),
    (SPAM, "550 5.7.1 Message contains spam or virus or sender is blocked : #4567"),
    (SPAM, "550 5.7.1 This message looks like SPAM"),
    (SPAM, "550 High probability of spam"),
    (SPAM, "554 5.7.1 Message content rejected, UBE, id=12345-01"),
    (SPAM, "550-5.7.1 likely unsolicited mail. To reduce the amount of it, this message has been blocked"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "line"), WORDS, ids=[line[:60] for _, line in WORDS])
def test_the_words_of_providers(wanted, line):
    assert about(said(line)) is wanted


PAUSES = [
    ("450 4.7.1 Greylisted, try again in 300 seconds", 300),
    ("451 4.7.1 Please try again in 5 minutes", 300),
    ("451 4.7.1 Greylisting in action, please come back in 00:05:30", 330),
    ("421 4.3.2 busy, retry after 2m", 120),
    ("450 4.2.0 <eve@example.org>: Recipient address rejected: Greylisted for 5 minutes", 300),
    ("451 come back in 1 hour and 30 minutes, not before: wait", 5400),
    ("421 Retry-After: 90", 90),
    ("451 wait at least 45 sec before you try again", 45),
    ("450 try again in 9 days", 86400),
    ("451 4.3.0 try again later", None),
    ("451 4.3.0 try again in 0 seconds", None),
    ("452 mailbox full for 30 days", None),
    ("550 5.1.1 unknown", None),
]


@pytest.mark.parametrize(("line", "seconds"), PAUSES)
def test_the_pause_that_it_asks_for(line, seconds):
    assert asked_pause(said(line)) == seconds


@pytest.mark.parametrize("text", ["daily " * 5000, "in 1 s, " * 5000, "exceeded the " + "a-b " * 5000, "from " * 9000])
def test_a_long_reply_costs_little(text):
    began = time.process_time()
    for _ in range(50):
        about(Reply(450, "", f"again {text}"))
        about(Reply(550, "", text))
        asked_pause(Reply(450, "", f"again {text}"))
    assert time.process_time() - began < 2.0
