"""Row: one mail as the database holds it, and whether it is still what was written."""

from typing import Any, NamedTuple
from zlib import crc32

from relay.entry import Entry, decode
from relay.message import Body, BytesBody
from relay.spool.files import BodyFiles

COLUMNS = "e.id, e.entry, e.crc, e.size, e.file, e.body_crc, b.data FROM entries e LEFT JOIN bodies b USING (seq)"
"""What a `Stored` is made of."""


class Stored(NamedTuple):
    """A row as it was read: after damage, anything can stand in it. Checksums of format 1 are None."""

    id: Any
    form: Any
    crc: Any
    size: Any
    file: Any
    body_crc: Any
    data: Any

    def whole(self, files: BodyFiles) -> tuple[Entry, Body]:
        """The mail. Raises ValueError with what is wrong with it, LaterForm when a later program wrote it."""
        entry = checked(self.id, self.form, self.crc)
        if self.file:
            return entry, files.find(str(self.file), self.size, self.body_crc)
        if not isinstance(self.data, bytes) or len(self.data) != self.size:
            raise ValueError("its octets are gone or cut short")
        if self.body_crc not in (None, crc32(self.data)):
            raise ValueError("its octets are damaged: their checksum differs")
        return entry, BytesBody(self.data)


def checked(name: Any, form: Any, crc: Any) -> Entry:
    """The entry that a row holds. Raises ValueError, LaterForm."""
    if not isinstance(form, bytes) or crc not in (None, crc32(form)):
        raise ValueError("its record is damaged: its checksum differs")
    entry = decode(form)
    if entry.id != name:
        raise ValueError("its record is another mail's")
    return entry
