"""Refusals: what a next hop's refusal is about, and when it wants to be asked again. Pure.

Most are about a mail or a recipient, and are that one's answer. Some are about *us*: we may not send
as this sender, have had our share of the day, or ask too much at once. Those would refuse the whole
queue, mail by mail, for something that a person or time will mend. Enhanced status codes tell some
apart (RFC 3463), for the rest there are only the words that providers use; `tests/unit/test_refusals.py`
lists them with whose they are.
"""

import re
from enum import StrEnum

from relay.reply import Reply

READ = 1000
"""Characters of a reply that are looked at."""
LONGEST_HINT = 86400.0
"""Seconds: nobody is believed who wants to be left alone for longer."""


class About(StrEnum):
    """What a refusal is about."""

    MAIL = "mail"
    """This mail, or this recipient."""
    SPAM = "spam"
    """This mail, for how it looks."""
    RATE = "rate"
    """We ask too much at a time: a little later all will be well."""
    QUOTA = "quota"
    """We have had our share: of a day, or all that is paid for."""
    SENDER = "sender"
    """This account may not send as this sender."""


_GREY = re.compile(r"gr[ae]y[- ]?list|postgrey|sqlgrey")
_SENDER_STATUS = frozenset(("5.2.252", "5.7.60"))
_QUOTA_STATUS = frozenset(("5.1.90", "5.7.232", "5.7.233", "5.7.236", "5.7.501", "5.7.502", "5.7.503", "5.7.705"))
_RATE_STATUS = frozenset(("4.7.28", "4.4.5"))
_SENDER = re.compile(
    r"sendasdenied|not allowed to send as|permissions? to send as"
    r"|not (?:allowed|authori[sz]ed|permitted) to send (?:e?-?mail |messages? )?(?:from|as|using) (?:this|that|the)\b"
    r"|authori[sz]ed to send from this header"
    r"|sender address rejected: not (?:owned|logged)|not owned by (?:user|auth)"
    r"|from address (?:is not|does not|must)|sender address (?:is )?not allowed"
    r"|match a verified sender|address is not verified|sender (?:is )?not (?:valid|verified|authori[sz]ed)\b"
    r"|relaying disallowed as|bad outbound sender|unregistered domains"
)
_QUOTA = re.compile(
    r"\bdaily (?:[\w-]+ ){0,4}(?:limit|quota)|\bdailylimit|(?:limit|quota) (?:for the|per|of the) day"
    r"|sending (?:limit|quota)|message quota exceeded|submissionquotaexceeded|storedrv\.submission\S*quotaexceeded"
    r"|exceeded (?:your|its|the) (?:[\w-]+ ){0,4}(?:sending|messaging|outmail|relay)(?: [\w-]+){0,2} ?(?:limit|quota)s?"
    r"|your (?:messaging limits|outmail quota)|max(?:imum)? (?:e-?mails|messages|credits|defers)(?: per hour| exceeded)"
    r"|sending (?:is )?(?:suspended|paused|disabled)|account (?:is )?(?:suspended|blocked) (?:from|for) sending"
    r"|reached (?:your|the|a) (?:[\w-]+ ){0,4}(?:sending|daily) (?:limit|quota)"
)
_RATE = re.compile(
    r"throttl|too many (?:connections|mails|messages|e-?mails|concurrent|sessions|login|log-in|commands)"
    r"|\brate[ -]?limit|sending rate|concurrent (?:\w+ )?(?:connection|limit)|thread limit|server (?:is )?busy"
    r"|(?:system|server) (?:is )?(?:too busy|overloaded)|too fast|slow down|unusual rate|smtp relay limit"
)
_SPAM = re.compile(
    r"\bspam|\bjunk\b|unsolicited|suspicious|message (?:content|looks)|content (?:rejected|filter|blocked|denied)"
    r"|rejected (?:due to|because of|for) (?:its )?content|virus|policy reasons|local policy|command rejected"
)
_NOT_ITS_LOOKS = re.compile(
    r"block(?:ed)? (?:using|list)|blacklist|blocklist|\bdnsbl|\brbl\b|spamhaus|spamcop|ip address|client host"
    r"|listed (?:in|at|by|on)|relay(?:ing)? (?:access )?denied|\bdmarc\b|\bspf\b|reputation"
)


def about(reply: Reply) -> About:
    """What this negative reply is about; MAIL when nothing says otherwise."""
    text = reply.text[:READ].lower().replace("\n", " ")
    status = reply.status
    if reply.permanent and (status in _SENDER_STATUS or _SENDER.search(text)):
        return About.SENDER
    if status in _QUOTA_STATUS or (status[2:] != "2.1" and _QUOTA.search(text)):
        return About.QUOTA
    if reply.transient:
        return About.RATE if _is_rate(reply, text) else About.MAIL
    if _SPAM.search(text) and not _NOT_ITS_LOOKS.search(text):
        return About.SPAM
    return About.MAIL


def _is_rate(reply: Reply, text: str) -> bool:
    if _GREY.search(text) or reply.status == "4.2.1":  # the mail's or the recipient's own affair
        return False
    wide = reply.status in _RATE_STATUS or re.fullmatch(r"4\.7\.[5-9]\d\d", reply.status) is not None
    return reply.code in (421, 432) or wide or _RATE.search(text) is not None


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_AGAIN = re.compile(r"again|retry|come back|\bwait\b|later|resend|gr[ae]y[- ]?list|throttl|defer")
_LENGTH = r"(\d{1,6}) ?(s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?)\b"
_IN = re.compile(
    rf"\b(?:in|after|for|wait|within|least|another|about) (?:(?:at least|about|another|the next) )?{_LENGTH}"
)
_AND = re.compile(rf"(?:,| and|) ?{_LENGTH}")
_CLOCK = re.compile(r"\b(?:in|after|for) (\d{1,2}):(\d\d):(\d\d)\b")
_BARE = re.compile(r"\bretry[- ]?after[:=] ?(\d{1,6})\b")


def asked_pause(reply: Reply) -> float | None:
    """In how many seconds it wants to be asked again, as in "try again in 5 minutes"; None where it does not say."""
    text = reply.text[:READ].lower().replace("\n", " ")
    if not _AGAIN.search(text):
        return None
    seconds = 0.0
    if found := _CLOCK.search(text):
        hours, minutes, rest = map(int, found.groups())
        seconds = hours * 3600.0 + minutes * 60 + rest
    elif found := _IN.search(text):
        while found:
            seconds += int(found[1]) * _UNITS[found[2][0]]
            found = _AND.match(text, found.end())
    elif found := _BARE.search(text):
        seconds = float(found[1])
    return min(seconds, LONGEST_HINT) if seconds > 0 else None
