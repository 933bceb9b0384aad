"""`./test audit`: what is found, what could not be asked, and that no lock file is left out; with a pip-audit of our own."""

import importlib.util
import json
import subprocess
import sys

import pytest

from tests.e2e.tools import ROOT

GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3", "4"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found: c (1)"}


@pytest.fixture
def audit():
    spec = importlib.util.spec_from_file_location("audit", ROOT / "scripts" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def said(tmp_path):
    """What `audit.py` says, and its exit status, when pip-audit prints this for each service."""

    def run(**services):
        program = tmp_path / "pip-audit"
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsaid = {services!r}[sys.argv[sys.argv.index('--vulnerability-service') + 1]]\n"
            "assert {'--require-hashes', '--disable-pip'} <= set(sys.argv)\n"
            "print(said, file=sys.stdout if said.startswith('{') else sys.stderr)\nsys.exit(not said.startswith('{'))\n"
        )
        program.chmod(0o755)
        command = [sys.executable, ROOT / "scripts" / "audit.py", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()

    return run


def report(*dependencies):
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_every_lock_file_is_asked_about(audit, said):
    names = {path.name for path in audit.locks()}
    assert (
        names == {path.name for path in (ROOT / "requirements").glob("*.txt")} >= {"run.txt", "test.txt", "audit.txt"}
    )
    status, out, err = said(osv=report(GOOD))
    assert (status, err) == (0, [])
    assert {line.partition(":")[0].removeprefix("requirements/") for line in out} == names


def test_a_known_vulnerability(said):
    status, out, _ = said(osv=report(GOOD, BAD))
    assert status == 1
    assert "requirements/run.txt: b 2: PYSEC-1, CVE-1; mended in 3 or 4" in out


def test_the_second_service_is_asked_where_the_first_can_not_be(said):
    assert said(osv="ConnectionError: no route", pypi=report(BAD))[0] == 1
    assert said(osv=report(GOOD, SKIPPED), pypi=report(GOOD))[0] == 0


@pytest.mark.parametrize(
    ("osv", "pypi", "told"),
    [
        ("ConnectionError: no route", "Boom", "osv: ConnectionError: no route; pypi: Boom"),
        (report(GOOD, SKIPPED), report(SKIPPED), "osv: Dependency not found: c (1); pypi: Dependency not found: c (1)"),
        (report(), "{}", "osv: it read no dependency; pypi: 'dependencies'"),
    ],
)
def test_what_could_not_be_asked_is_no_clean_bill(said, osv, pypi, told):
    status, out, err = said(osv=osv, pypi=pypi)
    assert (status, out) == (75, [])
    assert f"tracker-relay: requirements/run.txt: the advisory service could not be asked: {told}" in err
