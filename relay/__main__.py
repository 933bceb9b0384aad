"""`python -m relay` is the command `tracker-relay`.

`sendmail` is started for every mail that a program sends: it goes ahead of all that the other
commands need.
"""

import os
import sys


def main() -> int:
    """Run the command; the exit status."""
    program, *words = sys.argv
    program = os.path.basename(program)
    config, rest = _behind_config(words)
    if program in ("sendmail", "mailq", "newaliases", "runq"):
        from relay import sendmail  # noqa: PLC0415

        return sendmail.main(words, program=program)
    if rest[:1] == ["sendmail"]:
        from relay import sendmail  # noqa: PLC0415

        return sendmail.main(rest[1:], config)
    from relay import cli  # noqa: PLC0415

    return cli.main()


def _behind_config(words: list[str]) -> tuple[str | None, list[str]]:
    """The value of --config, and what follows it."""
    if words[:1] == ["--config"] and len(words) > 1:
        return words[1], words[2:]
    if words and words[0].startswith("--config="):
        return words[0].partition("=")[2], words[1:]
    return None, words


if __name__ == "__main__":
    sys.exit(main())
