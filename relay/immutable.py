"""Immutable: what one mail's road makes by the dozen. Nobody changes such a thing: he makes another one."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def immutable(cls: type[_T]) -> type[_T]:
    """As `dataclass(frozen=True, slots=True)`, but the type checker alone forbids a change: four times as quick.

    A frozen one sets each field by a call, and a small mail sets some 400: a tenth of all that it costs. What is made
    once, or for few mails, is frozen.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
