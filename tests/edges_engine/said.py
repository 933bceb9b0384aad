"""What the engine's reports say."""

import email
import email.policy


def reports(house):
    """The reports in the spool, as (entry, parsed mail)."""
    entries = [e for e in house.spool.entries() if e.report]
    return [(e, email.message_from_bytes(house.spool.bodies[e.id], policy=email.policy.default)) for e in entries]


def failed(parsed):
    """The Final-Recipients of a report."""
    return [group["Final-Recipient"] for group in parsed.get_payload(1).get_payload()[1:]]
