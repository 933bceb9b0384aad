"""Importing: the relay's configuration out of a trac.ini, and the lines to put back there.

`tracini` reads the file, `converted` says each of Trac's options in ours, `command` is `tracker-relay import`.
"""

from relay.importing.command import declare

__all__ = ["declare"]
