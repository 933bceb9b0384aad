"""What `check` says about a text, and that `run` says the same."""

import pytest

from relay import cli


class Checked:
    def __init__(self, status, lines, path):
        self.status, self.path = status, path
        stripped = [line.replace(f"{path}:", "") for line in lines if line != f"{path}: ok"]
        self.warnings = [line.removeprefix("warning: ") for line in stripped if line.startswith("warning: ")]
        self.faults = [line for line in stripped if not line.startswith("warning: ")]


@pytest.fixture
def checked(tmp_path, capsys):
    def check(text, command="check"):
        path = tmp_path / "config.ini"
        path.write_text(text)
        path.chmod(0o600)
        status = cli.main(["--config", str(path), command])
        out, err = capsys.readouterr()
        return Checked(status, (out + err).splitlines(), path)

    return check
