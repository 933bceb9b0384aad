"""Render: templates to text. Everything printed is escaped twice over: for HTML, and for what no eye sees.

The first by autoescape; the second since a mail's invisible and direction-changing characters would
let it write elsewhere on the page than where it stands.
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from relay import __version__
from relay.status import since

TEMPLATES = ("overview", "listing", "life", "outbox", "captured", "refused")


_UNUSUAL = re.compile(r"[^ -~\n\t]+")


def visible(text: str) -> str:
    """`text` with every character that does not print, line breaks and tabs apart, written as its escape."""
    return _UNUSUAL.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else found[0].translate(_ESCAPES)


class _Escapes(dict[int, str]):
    """For `str.translate`: what is written for each character, found out once; bounded, whatever mails contain."""

    def __missing__(self, point: int) -> str:
        if len(self) >= 5000:
            self.clear()
        char = chr(point)
        self[point] = shown = char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        return shown


_ESCAPES = _Escapes()


def _printed(value: Any) -> Any:
    return visible(value) if type(value) is str else value  # Markup is what a template wrote itself


def when(at: float) -> Markup:
    """A moment, for people in UTC and for programs."""
    moment = datetime.fromtimestamp(at, UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(timespec="seconds"), moment.strftime("%Y-%m-%d %H:%M:%S")
    )


def octets(size: int) -> str:
    """A size as one says it."""
    if size < 1024:
        return f"{size} B"
    return f"{size / 1024:.1f} kB" if size < 1 << 20 else f"{size / (1 << 20):.1f} MB"


def asked_by(origin: str, address: str) -> str:
    """Who asked for a recipient: the tracker, by whatever name, or an option of ours."""
    kind, _, given = origin.partition(":")
    if kind != "rcpt":
        return f"{kind} = {given}"
    return "the tracker" if given == address else f"the tracker, as {given}"


class Renderer:
    """All templates, compiled: the first visitor waits for nothing, and no request reads a file."""

    def __init__(self) -> None:
        folder = Path(__file__).parent / "templates"
        environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_printed,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters.update(when=when, since=since, octets=octets, asked_by=asked_by)
        environment.globals.update(version=__version__)
        self._templates = {name: environment.get_template(f"{name}.html") for name in (*TEMPLATES, "_base", "_parts")}
        self.style = (folder / "style.css").read_bytes()

    def page(self, name: str, **context: Any) -> str:
        """The HTML of one page."""
        return self._templates[name].render(**context)
