"""Shown: an entry as the commands and the status page print it; docs/commands.md names every field."""

from typing import Any

from relay.entry import Attempt, Entry, Outcome


def summary(entry: Entry) -> dict[str, Any]:
    """One line of a listing. Times in seconds since 1970."""
    reverse = entry.envelope.reverse_path
    return {
        "id": entry.id,
        "state": str(entry.state),
        "received_at": entry.received_at,
        "due": entry.due,
        "done_at": entry.done_at,
        "size": entry.size,
        "profile": entry.profile,
        "project": entry.project,
        "ticket": entry.ticket,
        "from": "" if reverse is None else str(reverse),
        "to": [str(r.address) for r in entry.envelope.recipients],
        "attempts": len(entry.attempts),
        "reason": entry.reason,
        "summary": entry.summary,
        "message_id": entry.message_id,
        "report": entry.report,
    }


def detail(entry: Entry) -> dict[str, Any]:
    """A whole life: what a listing shows, the events, and every attempt with its verbatim replies."""
    client = entry.client
    return summary(entry) | {
        "client": {
            "address": client.address,
            "helo": client.helo,
            "protocol": client.protocol,
            "listener": client.listener,
            "uid": client.uid,
        },
        "refused_paths": list(entry.refused_paths),
        "events": [{"at": e.at, "kind": e.kind, "text": e.text} for e in entry.events],
        "attempts": [_attempt(a) for a in entry.attempts],
        "answered": [_outcome(o) for o in entry.answered],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "at": attempt.at,
        "upstream": attempt.upstream,
        "tls": attempt.tls,
        "tls_level": attempt.tls_level,
        "delays": list(attempt.delays),
        "outcomes": [_outcome(o) for o in attempt.outcomes],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    reply = outcome.reply
    return {
        "address": outcome.address,
        "origin": outcome.origin,
        "disposition": str(outcome.disposition),
        "reply": str(reply),
        "code": reply.code,
        "status": reply.status,
        "text": reply.text,
        "host": outcome.host,
        "cause": str(outcome.cause),
        "rule": outcome.rule,
        "ambiguous": outcome.ambiguous,
    }
