"""The SELinux module and the unit under a kernel that enforces them: Debian in a virtual machine, software emulation.

Not part of a plain ./test: `./test vm` takes some minutes, root, and the packages of VM_PEERS in scripts/peers.sh.
What it downloads stays in var/vm.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / "var" / "vm"
SUITE = os.environ.get("VM_SUITE", "bookworm")
PYTHONS = {"bookworm": "311", "trixie": "313"}
ACCELERATION = os.environ.get("VM_ACCEL", "tcg")
BOOT_SECONDS = 1500
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


@pytest.fixture(scope="session")
def needed():
    wanted = ["mmdebstrap", "qemu-system-x86_64", "setfiles", "mkfs.ext4"]
    lacking = [name for name in wanted if not shutil.which(name, path=PATH)]
    if lacking or os.geteuid() != 0:
        message = f"left out: {', '.join(lacking) or 'root'} is missing; run ./test vm as root on Debian"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def wheels(needed):
    """What the lock file pins, for the guest's Python."""
    python = PYTHONS[SUITE]
    folder = CACHE / f"wheels-{python}"
    folder.mkdir(parents=True, exist_ok=True)
    platforms = [f"manylinux_2_{n}_x86_64" for n in (34, 28, 24, 17, 12, 5)] + ["manylinux2014_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    command += ["--only-binary=:all:", f"--python-version={python}", "--implementation=cp"]
    command += [f"--abi={abi}" for abi in (f"cp{python}", "abi3", "none")] + [f"--platform={p}" for p in platforms]
    command += ["-d", folder, "-r", ROOT / "requirements" / "run.txt"]
    subprocess.run(command, check=True, timeout=600)
    return folder


@pytest.fixture
def folder():
    """3 GB for a disk, in the checkout: /tmp may be small."""
    made = CACHE / f"run-{os.getpid()}"
    made.mkdir(parents=True)
    yield made
    shutil.rmtree(made)


def boot(part, policy, wheels, folder):
    """Build an image, run it, and give what it checked: {check: (ok, detail)}."""
    image = ["bash", HERE / "image.sh", CACHE, folder, SUITE, policy, wheels]
    subprocess.run(image, check=True, timeout=900, env={**os.environ, "PATH": PATH})
    processor = "max" if ACCELERATION == "tcg" else "host"
    line = f"root=/dev/vda rw console=ttyS0 security=selinux enforcing=1 audit=1 quiet loglevel=3 panic=5 systemd.show_status=0 lab={part}"
    command = [
        "nice",
        "qemu-system-x86_64",
        "-machine",
        f"q35,accel={ACCELERATION}",
        "-cpu",
        processor,
        "-smp",
        "1",
        "-m",
        "1024",
    ]
    command += ["-nodefaults", "-display", "none", "-no-reboot", "-nic", "none", "-serial", f"file:{folder}/console"]
    command += ["-drive", f"file={folder}/disk.img,if=virtio,format=raw,cache=unsafe"]
    command += ["-kernel", folder / "vmlinuz", "-initrd", folder / "initrd", "-append", line]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, timeout=BOOT_SECONDS, check=False)
    finally:
        console = (folder / "console").read_text(errors="replace") if (folder / "console").exists() else ""
        (CACHE / f"console-{part}.log").write_text(console)
    rows = [json.loads(row.partition("@@ ")[2]) for row in console.splitlines() if "@@ {" in row]
    for row in rows:
        if "note" in row:
            print(row["note"])
    assert any(row.get("end") for row in rows), (
        f"it did not come to its end: {CACHE}/console-{part}.log: {console[-3000:]}"
    )
    checks = {row["check"]: (row["ok"], row["detail"]) for row in rows if "check" in row}
    print(f"{part}: {sum(ok for ok, _ in checks.values())} of {len(checks)} checks hold")
    return checks


def broken(checks):
    return {name: detail for name, (ok, detail) in checks.items() if not ok}


def test_with_the_module_everything_works_and_nothing_else_is_possible(wheels, folder):
    checks = boot("confined", "module", wheels, folder)
    assert broken(checks) == {}
    assert len(checks) >= 100


def test_without_it_error_13_and_with_make_install_mail_flows(wheels, folder):
    checks = boot("bare", "none", wheels, folder)
    assert broken(checks) == {}
    assert len(checks) >= 20
