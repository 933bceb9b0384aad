"""tracker-relay: a submission gateway that understands issue-tracker mail."""

__version__ = "0.1.0"
