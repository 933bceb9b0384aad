"""`queue export` and `queue import`: mail moves to another relay as a tar file, neither lost nor doubled.

Export, in steps:
1. Hold each mail here, with a reason that names the file: from now on it is not sent from here.
2. Write `ID.json` (all that is known of it) and `ID.eml` (its octets as accepted) for each.
3. Make the file durable, then give it its name. Until then any fault puts the mails back as they were.
4. Only with `--remove` does the mail end here; else it stays held, and is safe twice.

Import takes in what it does not know yet, by id; so the same file may be imported again.
"""

import argparse
import base64
import contextlib
import io
import itertools
import json
import lzma
import os
import sys
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from relay.commands import filters, printing
from relay.commands.asking import Asking
from relay.commands.queue import changed, noted, refused, say, status, still
from relay.errors import DamagedMail, NoSuchMail, RelayError
from relay.queue.moving import LONGEST_FORM
from relay.spool.folder import sync_folder

_PIECE = 65536
_AT_A_TIME = 200
"""Mails that are held before they are written."""
_RESTORED = 50
"""Mails in one request to put them back: each with its reason, which may be long."""


def declare_export(parser: argparse.ArgumentParser) -> None:
    """What only export takes."""
    parser.add_argument(
        "--output", "-o", metavar="FILE", type=Path, help="the tar file; - is standard output, and so is nothing"
    )
    then = parser.add_mutually_exclusive_group()
    then.add_argument("--remove", action="store_true", help="end it here once the file is safe on disk")
    then.add_argument("--copy", action="store_true", help="leave it as it is here: whoever imports it sends it twice")
    parser.set_defaults(function=export)


def declare_import(parser: argparse.ArgumentParser) -> None:
    """The arguments of import."""
    parser.add_argument(
        "file", metavar="FILE", type=Path, nargs="?", default="-", help="the tar file; - is standard input"
    )
    parser.add_argument("--hold", action="store_true", help="hold what it brings")
    parser.set_defaults(function=bring)


def export(arguments: argparse.Namespace, ask: Asking) -> int:
    """`queue export`: see above."""
    terminal = arguments.output is None and sys.stdout.isatty()
    arguments.output = arguments.output or Path("-")
    piped = arguments.output == Path("-")
    try:
        if terminal:
            raise filters.Usage("name the file: -o FILE")
        if piped and (arguments.remove or arguments.json):
            raise filters.Usage("--remove and --json need a file: standard output is the archive")
        ids = filters.chosen(arguments, ask, "export")
    except (filters.Usage, filters.Declined) as fault:
        return refused(fault)
    if arguments.dry_run or not ids:
        print("\n".join(ids), end="\n" if ids else "", file=sys.stderr if piped else sys.stdout)
        return os.EX_OK
    before: dict[str, Any] = {}
    try:
        with _target(arguments.output) as file:
            rows = list(_written(arguments, ask, ids, file, before))
    except BaseException as fault:
        _restore(ask, before)
        if not isinstance(fault, OSError):
            raise
        printing.complain(f"{arguments.output}: {fault.strerror or fault}; nothing is exported")
        return os.EX_CANTCREAT
    if arguments.remove:
        kept = [row for row in rows if row["result"] != "done"]
        rows = [*kept, *changed(ask, "remove", list(before))]
    if arguments.json:
        printing.as_json(rows)
    else:
        for row in rows:
            say(row, piped=piped)
    return status([row["result"] for row in rows])


def _restore(ask: Asking, before: dict[str, Any]) -> None:
    try:
        for some in filters.in_chunks(list(before), _RESTORED):
            asked = {"do": "restore", "ids": some, "before": {name: before[name] for name in some}}
            list(ask(asked))
    except RelayError as fault:
        told = "some mails stay held with the reason `exported to`: release them when it is mended"
        printing.complain(f"{fault}; {told}")


@contextlib.contextmanager
def _target(path: Path) -> Iterator[IO[bytes]]:
    """The file to write: under another name until it is whole and durable; a fault leaves none. Raises OSError."""
    if path == Path("-"):
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _written(
    arguments: argparse.Namespace, ask: Asking, ids: list[str], file: IO[bytes], before: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Write the mails of these ids; what became of each. `before` gets what those were that are set aside."""
    with tarfile.open(fileobj=file, mode="w|") as tar:
        for some in filters.in_chunks(ids, _AT_A_TIME):
            rows = list(_set_aside(arguments, ask, some))
            forms = {row["id"]: row.pop("entry") for row in rows if row.get("entry")}
            if not arguments.copy:
                before |= {
                    n: {name: form.get(name) for name in ("state", "reason", "due")} for n, form in forms.items()
                }
            gone = {name for name, form in forms.items() if not _added(tar, ask, name, form)}
            yield from (row | _GONE if row["id"] in gone else row for row in rows)


def _set_aside(arguments: argparse.Namespace, ask: Asking, ids: list[str]) -> Iterator[dict[str, Any]]:
    if not arguments.copy:
        where = "standard output" if arguments.output == Path("-") else str(arguments.output.absolute())
        yield from changed(ask, "set-aside", ids, still(arguments), to=where)
        return
    for row in ask({"do": "form", "ids": ids}):
        found = row["entry"] is not None
        yield row | ({"result": "done", "text": "copied"} if found else _GONE)


_GONE = {"result": "gone", "text": "is not in the queue any more"}


def _added(tar: tarfile.TarFile, ask: Asking, name: str, stored: dict[str, Any]) -> bool:
    """Write one mail; False for one that is only copied, and has left meanwhile."""
    lines = ask({"do": "cat", "id": name})
    try:
        first = [line["octets"] for line in itertools.islice(lines, 1)]
    except NoSuchMail:
        return False
    octets = _Octets(itertools.chain(first, (line["octets"] for line in lines)))
    form = json.dumps(stored, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")
    for suffix, size, content in (("json", len(form), io.BytesIO(form)), ("eml", stored.get("size", 0), octets)):
        member = tarfile.TarInfo(f"{name}.{suffix}")
        member.size, member.mode, member.mtime = size, 0o600, int(stored["received_at"])
        tar.addfile(member, content)
    return True


class _Octets:
    """The octets of `queue cat`, as a file that can be read once."""

    def __init__(self, pieces: Iterable[str]) -> None:
        self._pieces, self._left = iter(pieces), b""

    def read(self, size: int = 0, /) -> bytes:
        """Exactly `size` octets, fewer at the end only."""
        while size > len(self._left) and (piece := next(self._pieces, None)) is not None:
            self._left += base64.b64decode(piece)
        given, self._left = self._left[:size], self._left[size:]
        return given


def bring(arguments: argparse.Namespace, ask: Asking) -> int:
    """`queue import`: every mail of the file, each on its own; stops at the first that is damaged."""
    results: list[str] = []
    try:
        with contextlib.ExitStack() as stack:
            piped = arguments.file == Path("-")
            file = sys.stdin.buffer if piped else stack.enter_context(arguments.file.open("rb"))
            tar = stack.enter_context(tarfile.open(fileobj=file, mode="r|*"))
            rows = noted(_brought(arguments, ask, tar), results)
            if arguments.json:
                printing.as_json(rows)
            else:
                for row in rows:
                    say(row)
    except OSError as fault:
        printing.complain(f"{arguments.file}: {fault.strerror or fault}")
        return os.EX_NOINPUT
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, _Damaged) as fault:
        told = f"{len(results)} mails were read before it" if results else "nothing was imported"
        printing.complain(f"{arguments.file}: {fault}; {told}")
        return os.EX_DATAERR
    if not results:
        printing.complain(f"{arguments.file}: no mail is in it")
        return os.EX_DATAERR
    return os.EX_OK


class _Damaged(Exception):
    """the file is no export of this program"""


def _brought(arguments: argparse.Namespace, ask: Asking, tar: tarfile.TarFile) -> Iterator[dict[str, Any]]:
    form: tuple[str, bytes] | None = None
    for member in tar:
        name, _, suffix = member.name.rpartition(".")
        content = tar.extractfile(member) if member.isreg() else None
        if content is None:
            raise _Damaged(f"{member.name} is no plain file")
        if suffix == "json" and form is None and member.size <= LONGEST_FORM:
            form = name, content.read()
        elif suffix == "eml" and form is not None and form[0] == name:
            yield from _one(arguments, ask, form[1], member.size, content)
            form = None
        else:
            raise _Damaged(f"{member.name} is not what export writes")
    if form is not None:
        raise _Damaged(f"{form[0]}.json has no mail behind it")


def _one(
    arguments: argparse.Namespace, ask: Asking, form: bytes, size: int, content: IO[bytes]
) -> Iterator[dict[str, Any]]:
    request = {"do": "take-in", "form": len(form), "octets": len(form) + size, "hold": arguments.hold}
    pieces = itertools.chain((form,), iter(lambda: content.read(_PIECE), b""))
    where = "standard input" if arguments.file == Path("-") else arguments.file.name
    try:
        yield from ask({**request, "to": where}, pieces)
    except DamagedMail as fault:
        raise _Damaged(str(fault)) from fault
