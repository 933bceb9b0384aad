"""The body of Trac's mail: who reported, who owns, who caused this event.

1. `#ID: summary` (wrapped), then a rule of `-`, `+`, `-`, rows of two cells, and the same rule again.
2. Multi-line custom fields may follow, unindented, up to a further such rule: whoever may edit a ticket
   writes them, so only what stands behind the *last* rule counts as Trac's own words.
3. There, a line that is not indented says who changed the ticket. Descriptions and comments are indented
   by one blank, so they can imitate all of this but never be taken for it.

A cell belongs to its label by place: Trac aligns the colons of a column, and a wrapped value never
reaches the columns of the labels. The mails of 2004 (a row `Id:`, one blank behind labels, events
without a person) are read as well.
"""

import re
import unicodedata
from dataclasses import dataclass, field

_RULE = re.compile(r"-{3,}\+-{3,}")
_LABEL = re.compile(r" *([^ :|][^:|]{0,38}?)?:")
_EVENTS = (
    ("change", re.compile(r"Changes \(by (.+)\):")),
    ("change", re.compile(r"Description changed by (.+):")),
    ("comment", re.compile(r"Comment ?\(by (.+)\):")),
    ("batch", re.compile(r"Batch modification to [#\d, ]+ by (.+):")),
    ("change", re.compile(r"Changes:()")),
    ("comment", re.compile(r"Comment:()")),
)
_OWNER = re.compile(r" ?\* owner: {1,2}(.*?) =>(?: (.*))?")
_ATTACHMENT = re.compile(r' \* Attachment "')
_MAX_LINES = 2000


@dataclass(slots=True)
class Body:
    """What the body shows; "" for what it does not. Names as they stand there."""

    cells: dict[str, str] = field(default_factory=dict)
    event: str = ""
    updater: str = ""
    previous_owner: str = ""


def read(text: str, summary: str) -> Body:
    """Read a mail's text; `summary` is `#ID: summary` as the Subject has it, blanks collapsed."""
    lines = text.split("\n")[:_MAX_LINES]
    body = Body()
    start = _behind_summary(lines, summary)
    first = next((n for n in range(start, len(lines)) if _RULE.fullmatch(lines[n].rstrip())), None)
    if first is None:
        _event(body, lines, start)
        return body
    rule = lines[first].rstrip()
    rules = [n for n in range(first + 1, len(lines)) if lines[n].rstrip() == rule]
    if not rules:
        return body
    body.cells = _table(lines[first + 1 : rules[0]], rule.index("+"))
    _event(body, lines, rules[-1] + 1)
    return body


def _behind_summary(lines: list[str], summary: str) -> int:
    """Where the lines of the wrapped summary end, so that a summary can not imitate a table."""
    wanted = "".join(summary.split())
    read = ""
    for number, line in enumerate(lines[:50]):
        read += "".join(line.split())
        if wanted and read == wanted:
            return number + 1
        if wanted and not wanted.startswith(read):
            break
    return 0


def _table(rows: list[str], column: int) -> dict[str, str]:
    """Label to value; the first cell of a label counts."""
    cells: dict[str, str] = {}
    loose = bool(rows) and _LABEL.match(rows[0]) is not None and rows[0].split(":")[0].strip() == "Id"
    for cell_lines in zip(*(_split(row, column, loose) for row in rows), strict=True):
        place, label = -1, ""
        for text in cell_lines:
            found = _LABEL.match(text)
            at = _width(text[: found.end()]) if found and found[1] else -1
            if found and found[1] and (loose or place in (-1, at)):
                place, label = at, found[1].strip()
                value = text[found.end() :].strip()
                if label in cells:
                    label = ""
                else:
                    cells[label] = value
            elif label and text.strip():
                glue = "" if cells[label].endswith("-") or text.strip().startswith("@") else " "
                cells[label] = (cells[label] + glue + text.strip()).strip()
    return cells


def _split(row: str, column: int, loose: bool) -> tuple[str, str]:
    """The two cells of a row, split where the rule has its `+`, counted in columns of a screen."""
    if loose:
        left, _, right = row.partition("|")
        return left, right
    width = 0
    for at, char in enumerate(row):
        if char == "|" and abs(width - column) <= 1:
            return row[:at], row[at + 1 :]
        width += _width(char)
    bars = [at for at, char in enumerate(row) if char == "|"]
    if len(bars) == 1:  # letters of ambiguous width: the only bar is the border
        return row[: bars[0]], row[bars[0] + 1 :]
    return row, ""


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _event(body: Body, lines: list[str], start: int) -> None:
    """The first line of Trac's own behind the table: who did what."""
    at = next((n for n in range(start, len(lines)) if lines[n].strip()), None)
    if at is None:
        return
    for event, pattern in _EVENTS:
        if found := pattern.fullmatch(lines[at].rstrip()):
            body.event, body.updater = event, found[1].strip()
            if event == "change":
                _changes(body, lines[at + 1 :])
            return


def _changes(body: Body, lines: list[str]) -> None:
    """The list behind `Changes`: up to the next empty line, since a comment could imitate its rows."""
    begun = False
    for line in lines:
        if not line.strip():
            if begun:
                return
            continue
        if not line.startswith((" ", "* ")):
            return
        begun = True
        if _ATTACHMENT.match(line):
            body.event = "attachment"
        elif found := _OWNER.fullmatch(line.rstrip()):
            body.previous_owner = found[1].strip()
