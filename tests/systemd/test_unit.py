"""The unit files, judged by systemd's own tools against a root of our own; nothing is started or installed."""

import configparser
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from relay import app, config, places
from relay.loaded import policy_folder, token_folder

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "contrib" / "systemd"
EXPOSURE = 1.5
"""What `systemd-analyze security` may say at most; redis has 1.5, postfix's own helper in Python 2.3 (Debian 12)."""
PROGRAM = "opt/tracker-relay/bin/tracker-relay"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with systemd's own units, ours, and a program in the program's place."""
    system = Path("/usr/lib/systemd/system")
    if not shutil.which("systemd-analyze") or not (system / "sysinit.target").exists():
        message = "left out: systemd is missing; run ./test as root on Debian"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("root")
    shutil.copytree(system, folder / "usr/lib/systemd/system", symlinks=True)
    shutil.copytree("/usr/lib/sysusers.d", folder / "usr/lib/sysusers.d")
    (folder / PROGRAM).parent.mkdir(parents=True)
    (folder / PROGRAM).touch(0o755)
    (folder / "etc/systemd/system").mkdir(parents=True)
    for name in ("tracker-relay.service", "tracker-relay.socket"):
        shutil.copy(UNITS / name, folder / "etc/systemd/system" / name)
    return folder


def tool(*arguments):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("unit", ["tracker-relay.service", "tracker-relay.socket"])
def test_systemd_finds_no_fault_in_a_unit(root, unit):
    found = tool("systemd-analyze", "verify", f"--root={root}", unit)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_a_fault_in_a_unit_would_be_found(root):
    path = root / "etc/systemd/system/broken.service"
    path.write_text((UNITS / "tracker-relay.service").read_text().replace("PrivateTmp=yes", "PrivateTpm=yes"))
    assert "'PrivateTpm'" in tool("systemd-analyze", "verify", f"--root={root}", "broken.service").stderr


def exposure(root, unit):
    said = tool("systemd-analyze", "security", "--offline=true", "--no-pager", f"--root={root}", unit).stdout
    return float(re.search(rf"exposure level for {unit}: ([\d.]+)", said)[1])


def test_the_services_exposure_is_small(root):
    assert exposure(root, "tracker-relay.service") <= EXPOSURE


def test_the_exposure_of_a_service_with_less_protection_is_larger(root):
    text = (UNITS / "tracker-relay.service").read_text()
    for name, line in (("a", "SystemCallFilter=@system-service\n"), ("b", "CapabilityBoundingSet=\n")):
        assert line in text
        (root / f"etc/systemd/system/{name}.service").write_text(text.replace(line, ""))
        assert exposure(root, f"{name}.service") > EXPOSURE


def directives():
    """The unit's options; the last of several of one name."""
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str
    parser.read(UNITS / "tracker-relay.service")
    return parser


def test_the_unit_and_the_program_agree():
    service = directives()["Service"]
    assert service["Type"] == "notify"
    assert f"/{PROGRAM} run" == service["ExecStart"]
    assert f"/run/{service['RuntimeDirectory']}" == places.RUN
    assert f"/etc/{service['StateDirectory']}/config.ini" == places.CONFIG
    assert str(app.EX_CONFIG) in service["RestartPreventExitStatus"].split()
    assert int(service["TimeoutStopSec"].removesuffix("s")) > app.GRACE


def test_no_memory_image_many_descriptors_and_no_powers():
    service = directives()["Service"]
    wanted = {
        "LimitCORE": "0",
        "LimitNOFILE": "65536",
        "UMask": "0077",
        "CapabilityBoundingSet": "",
        "NoNewPrivileges": "yes",
        "MemoryDenyWriteExecute": "yes",
        "ProtectSystem": "strict",
        "StateDirectoryMode": "0700",
        "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    }
    assert {name: service[name] for name in wanted} == wanted
    assert "PrivateUsers" not in service, "allow_uids needs to see who is at the other end"


def test_nothing_in_the_unit_keeps_the_relay_from_dns_strangers_servers_and_policies():
    """A directive that would break direct delivery is no slip of the pen that a mail finds out."""
    service = directives()["Service"]
    closing = {"IPAddressDeny", "IPAddressAllow", "SocketBindDeny", "PrivateNetwork", "RestrictNetworkInterfaces"}
    closing |= {"InaccessiblePaths", "NetworkNamespacePath", "RootDirectory", "TemporaryFileSystem"}
    assert closing & set(service) == set()
    assert {"AF_INET", "AF_INET6"} < set(service["RestrictAddressFamilies"].split())


def test_what_outlasts_a_restart_lies_where_the_unit_lets_it_write(tmp_path):
    """Policies and tokens stand in the spool's folder, wherever that is; the shipped configuration has it in /var/lib."""
    loaded = config.read(UNITS / "config.ini", {}).configuration
    moved = replace(loaded, spool=replace(loaded.spool, path=str(tmp_path / "spool")))
    folder = f"{tmp_path}/spool/"
    assert str(policy_folder(moved)).startswith(folder)
    assert str(token_folder(moved)).startswith(folder)


def test_the_drop_in_that_names_the_servers_is_one_that_systemd_takes(root):
    text = (UNITS / "tracker-relay.service").read_text()
    named = re.sub(r"^#(IPAddress\w+=)", r"\1", text, flags=re.MULTILINE)
    assert named.count("\nIPAddress") == 2
    (root / "etc/systemd/system/named.service").write_text(named)
    found = tool("systemd-analyze", "verify", f"--root={root}", "named.service")
    assert (found.returncode, found.stdout + found.stderr) == (0, "")
    (root / "etc/systemd/system/misnamed.service").write_text(named.replace("192.0.2.25", "192.0.2.256"))
    assert "192.0.2.256" in tool("systemd-analyze", "verify", f"--root={root}", "misnamed.service").stderr


def test_the_shipped_configuration_of_the_service_has_no_fault():
    loaded = config.read(UNITS / "config.ini", {})
    assert loaded.fault_lines() == []
    state = f"/var/lib/{directives()['Service']['StateDirectory']}/"
    assert loaded.configuration.spool.path.startswith(state)
    assert loaded.configuration.next_hop.outbox.startswith(state), "the only folders it may write are systemd's for it"


def test_the_user_is_made_by_sysusers(root):
    shutil.copy(UNITS / "tracker-relay.sysusers", root / "usr/lib/sysusers.d/tracker-relay.conf")
    made = tool("systemd-sysusers", f"--root={root}")
    assert made.returncode == 0, made.stderr
    [line] = [x for x in (root / "etc/passwd").read_text().splitlines() if x.startswith("tracker-relay:")]
    assert line.endswith(
        ":tracker-relay, the SMTP gateway of the issue trackers:/var/lib/tracker-relay:/usr/sbin/nologin"
    )
    assert "tracker-relay:" in (root / "etc/group").read_text()
