"""Any other program: nothing is known of its mail."""

from relay.dialects.facts import Facts, Text
from relay.message import Message


def recognises(message: Message) -> bool:
    """Everything that no other dialect knows."""
    return True


def facts(message: Message, text: Text) -> Facts:
    """Nothing."""
    return Facts()
