"""The queue in an administrator's hand: what the commands ask, over a spool, beside a running delivery or without one.

Every change claims the entry first, so it never races with a delivery: a mail that is just being
delivered is left alone, and the answer says so.
"""

from relay.queue.asked import Queue
from relay.queue.changes import CHANGES
from relay.queue.changing import Parts
from relay.queue.looking import ALL
from relay.queue.shown import detail, summary

__all__ = ["ALL", "CHANGES", "Parts", "Queue", "detail", "summary"]
