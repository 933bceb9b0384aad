"""Debian's whole policy with our module in it, linked in a scratch folder: no SELinux kernel, no root."""

import bz2
import functools
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.tools import missing

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "contrib" / "selinux"
MODULES = Path("/usr/share/selinux/default")
HEADERS = Path("/usr/share/selinux/devel/Makefile")
TO_CIL = Path("/usr/libexec/selinux/hll/pp")
SYSTEM_PYTHON = "/usr/bin/python3"
"""Debian's own: setools is a package of its."""


def tool(*arguments, status=0, **more):
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, timeout=300, **more)
    assert done.returncode == status, (arguments, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="session")
def needed():
    """The tools of the policy, or a skip that names what is missing."""
    for path, package in (
        (MODULES / "base.pp.bz2", "selinux-policy-default"),
        (HEADERS, "selinux-policy-dev"),
        (TO_CIL, "semodule-utils"),
    ):
        if not path.exists():
            missing(package)
    for name, package in (("secilc", "secilc"), ("make", "make"), ("sesearch", "setools")):
        if not shutil.which(name):
            missing(package)
    if subprocess.run([SYSTEM_PYTHON, "-c", "import setools"], capture_output=True).returncode:
        missing("python3-setools")


@pytest.fixture(scope="session")
def base(needed, tmp_path_factory):
    """Debian's modules, each in the common intermediate language."""
    folder = tmp_path_factory.mktemp("base")

    def convert(path):
        package = folder / path.name.removesuffix(".bz2")
        package.write_bytes(bz2.decompress(path.read_bytes()))
        tool(TO_CIL, package, package.with_suffix(".cil"))
        package.unlink()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(convert, sorted(MODULES.glob("*.pp.bz2"))))
    return sorted(folder.glob("*.cil"))


class Linked:
    """A policy for the kernel, and the folder it was made in."""

    def __init__(self, folder, base):
        tool("make", "STORE=default", cwd=folder)
        tool(TO_CIL, folder / "tracker_relay.pp", folder / "tracker_relay.cil")
        self.policy, self.folder = folder / "policy", folder
        ours = [folder / "tracker_relay.cil", folder / "tracker_relay_port.cil"]
        # -N: a weakened module is to be found by prove.py, not by the few assertions of the policy itself.
        tool("secilc", "-N", "-M", "1", "-o", self.policy, "-f", folder / "file_contexts", *base, *ours)

    @functools.cache  # noqa: B019 - as many as there are tests
    def prove(self, *exceptions):
        """Each property's name, with what breaks it."""
        done = subprocess.run(
            [SYSTEM_PYTHON, SOURCE / "prove.py", "--json", self.policy, *exceptions],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode in (0, 1), done.stderr
        found = {name: row["broken"] for name, row in json.loads(done.stdout).items()}
        assert done.returncode == (1 if any(found.values()) else 0)
        return found


@pytest.fixture(scope="session")
def link(base, tmp_path_factory):
    """A function: link the module, its sources changed as wanted: {file: function of its text}."""

    def make(changes):
        folder = tmp_path_factory.mktemp("module")
        for name in ("Makefile", "tracker_relay.te", "tracker_relay.if", "tracker_relay.fc", "tracker_relay_port.cil"):
            text = (SOURCE / name).read_text()
            (folder / name).write_text(changes[name](text) if name in changes else text)
        return Linked(folder, base)

    return make


@pytest.fixture(scope="session")
def linked(link):
    """The module as it is."""
    return link({})
