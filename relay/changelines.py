"""Change lines: what each rule did to a mail, in words for its history, where the octets do not stay."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import compress
from operator import is_not

from relay import encoded_word
from relay.mail import Mail
from relay.message import Field

LONGEST = 200
"""Characters of a field's value that are kept."""
MOST = 30
"""Lines about one mail."""
_TRACE = "trace_fields"
"""The rule that does the same to every mail; what it does beyond that it notes itself."""


def change_lines(before: Mail, steps: Sequence[tuple[str, Mail]]) -> tuple[str, ...]:
    """A line for each field that a rule changed, added or removed: `subject_prefix: Subject: "x" became "[P] x"`."""
    found: list[str] = []
    mail = before
    for rule, after in steps:
        if after.message is not mail.message and rule != _TRACE:
            found += [f"{rule}: {line}" for line in _lines(mail, after)]
        mail = after
    return tuple(found[:MOST])


def _lines(before: Mail, after: Mail) -> list[str]:
    gone, come = changed_fields(before.message.fields, after.message.fields)
    names = [field.name for field in gone]
    if names == [field.name for field in come] and len(set(names)) == len(names):  # each in its place, as mostly
        lines = [f"{_title(is_)}: {_shown(was)} became {_shown(is_)}" for was, is_ in zip(gone, come, strict=True)]
    else:
        lines = list(_by_name(gone, come))
    if before.message.body is not after.message.body:
        lines.append("the body was re-encoded")
    return lines


def _by_name(gone: Sequence[Field], come: Sequence[Field]) -> Iterator[str]:
    for name in dict.fromkeys(field.name for field in (*gone, *come)):
        were, are = (", ".join(_shown(field) for field in fields if field.name == name) for fields in (gone, come))
        title = _title(next(field for field in (*come, *gone) if field.name == name))
        if were and are:
            yield f"{title}: {were} became {are}"
        else:
            yield f"{title}: {were or are} {'removed' if were else 'added'}"


def changed_fields(old: Sequence[Field], new: Sequence[Field]) -> tuple[list[Field], list[Field]]:
    """The fields that went and those that came. Linear, and quick where none has changed, or some in their places."""
    if old is new:
        return [], []
    if len(old) == len(new):
        pairs = list(compress(zip(old, new, strict=True), map(is_not, old, new)))
        gone, come = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    else:
        gone, come = _without(old, new), _without(new, old)
    were, are = {field.raw for field in gone}, {field.raw for field in come}
    if were.isdisjoint(are):
        return gone, come
    return [field for field in gone if field.raw not in are], [field for field in come if field.raw not in were]


def _without(fields: Sequence[Field], others: Sequence[Field]) -> list[Field]:
    same = set(map(id, others))  # a field that no rule touches stays the same object
    return [field for field in fields if id(field) not in same]


def _title(field: Field) -> str:
    return field.raw.partition(b":")[0].strip().decode("ascii", "replace")


def _shown(field: Field) -> str:
    return _remembered(field.raw) if len(field.raw) <= LONGEST else _value(field.raw)


def _value(raw: bytes) -> str:
    text = encoded_word.clean(encoded_word.decode(Field(raw).text))
    return f'"{text[:LONGEST]}..."' if len(text) > LONGEST else f'"{text}"'


_remembered = lru_cache(1024)(_value)
