"""The SELinux module: it compiles, links with Debian's whole policy, and keeps what it promises there."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from relay import places
from tests.e2e.tools import missing, needs_root

SOURCE = Path(__file__).resolve().parents[2] / "contrib" / "selinux"
LABELS = {
    "/opt/tracker-relay/bin/tracker-relay": "exec",
    "/opt/tracker-relay/bin/tracker-relay-sendmail": "client_exec",
    "/opt/venvs/tracker-relay/bin/tracker-relay": "exec",
    "/usr/lib/tracker-relay/bin/tracker-relay": "exec",
    "/usr/bin/tracker-relay": "exec",
    "/usr/bin/tracker-relay-sendmail": "client_exec",
    places.CONFIG: "conf",
    "/etc/tracker-relay/smtp_password": "conf",
    "/var/lib/tracker-relay": "state",
    "/var/lib/tracker-relay/outbox/new/1": "state",
    "/var/lib/tracker-relay/spool": "spool",
    "/var/lib/tracker-relay/spool/bodies/1.eml": "spool",
    "/var/lib/tracker-relay/spool/mta-sts/example.com.json": "spool",
    "/var/lib/tracker-relay/spool/tokens/notification.json": "spool",
    "/var/log/tracker-relay/relay.log": "log",
    f"{places.RUN}/control.sock": "runtime",
    places.submission_socket(places.CONFIG): "submission",
    "/etc/systemd/system/tracker-relay.service": "unit",
    "/usr/lib/systemd/system/tracker-relay.socket": "unit",
}
SYSTEMS_OWN = ["/opt/tracker-relay/bin/python3", "/etc/tracker", "/var/lib/tracker-relay2", "/usr/bin/tracker-relayd"]


def prove(*arguments):
    command = ["/usr/bin/python3", SOURCE / "prove.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def tool(*arguments):
    subprocess.run(arguments, check=True, capture_output=True, timeout=120)


def test_every_property_is_proved(linked):
    found = linked.prove()
    assert len(found) >= 44
    assert {name: broken for name, broken in found.items() if broken} == {}


def test_what_is_printed_is_a_sentence_for_each_property_and_the_sum(linked):
    done = prove(linked.policy)
    *lines, total = done.stdout.splitlines()
    count = len(linked.prove())
    assert (done.returncode, total) == (0, f"{count} proved, 0 broken")
    assert len([line for line in lines if re.fullmatch(r"proved  [A-Z].+\.|proved  systemd .+\.", line)]) == count


@pytest.mark.parametrize(
    ("content", "said"), [("", "prove.py: "), ("SELinux no policy at all", "prove.py: ")], ids=["empty", "text"]
)
def test_a_file_that_is_no_policy_is_named(needed, tmp_path, content, said):
    (tmp_path / "policy").write_text(content)
    done = prove(tmp_path / "policy")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)
    assert "Traceback" not in done.stderr


NOTHING = """(mls true)(handleunknown allow)(class file (read))(classorder (file))(sid kernel)(sidorder (kernel))
(sensitivity s0)(sensitivityorder (s0))(user u)(userrange u ((s0) (s0)))(userlevel u (s0))(role r)(type t)
(userrole u r)(roletype r t)(allow t self (file (read)))(sidcontext kernel (u r t ((s0) (s0))))
"""


def test_a_policy_without_the_module_is_named(needed, tmp_path):
    (tmp_path / "nothing.cil").write_text(NOTHING)
    policy = tmp_path / "policy"
    tool("secilc", "-o", policy, "-f", tmp_path / "fc", tmp_path / "nothing.cil")
    done = prove(policy)
    assert done.returncode == 2
    assert done.stderr == f"prove.py: {policy}: the module tracker_relay is not in this policy\n"


def test_the_exceptions_for_fedora_are_of_properties_that_there_are(linked):
    names = set(linked.prove())
    for path in (SOURCE / "expected").iterdir():
        assert set(json.loads(path.read_text())) <= names


def test_an_exception_for_no_property_is_named(linked, tmp_path):
    path = tmp_path / "exceptions.json"
    path.write_text(json.dumps({"conects": ["pop_port_t"]}))
    done = prove(linked.policy, path)
    assert (done.returncode, done.stderr) == (2, f"prove.py: {path}: no such property: conects\n")


@pytest.fixture(scope="module")
def store(needed, tmp_path_factory):
    """A copy of this host's policy store, and a way to run the Makefile on it as an administrator would."""
    needs_root()
    if not Path("/var/lib/selinux/default").exists():
        missing("the store of selinux-policy-default")
    root = tmp_path_factory.mktemp("store")
    shutil.copytree("/var/lib/selinux", root / "var/lib/selinux", symlinks=True)
    shutil.copytree("/etc/selinux", root / "etc/selinux", symlinks=True)
    shutil.copytree(SOURCE, root / "source", ignore=shutil.ignore_patterns("tmp", "*.pp", "__pycache__"))

    def run(*words):
        places = (
            f"PACKAGES={root}/packages",
            f"INTERFACES={root}/interfaces",
            f"SEMODULE=semodule -p {root} -s default -n",
        )
        command = ["make", "-C", root / "source", *words, "STORE=default", *places]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    run.root = root
    return run


def listed(store):
    command = ["semodule", "-p", store.root, "-s", "default", "--list=full"]
    rows = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.splitlines()
    return [tuple(row.split()[:2]) for row in rows if "tracker_relay" in row]


def label(contexts, path):
    done = subprocess.run(["matchpathcon", "-n", "-f", contexts, path], capture_output=True, text=True, timeout=30)
    return done.stdout.strip()


def test_make_install_and_make_remove(store):
    done = store("install")
    assert done.returncode == 0, done.stderr
    assert listed(store) == [("200", "tracker_relay"), ("200", "tracker_relay_port")]
    [policy] = (store.root / "etc/selinux/default/policy").iterdir()
    proved = store("prove", f"POLICY={policy}")
    assert proved.returncode == 0, proved.stdout
    assert " proved, 0 broken\n" in proved.stdout
    contexts = store.root / "etc/selinux/default/contexts/files/file_contexts"
    found = {path: label(contexts, path) for path in LABELS}
    assert found == {path: f"system_u:object_r:tracker_relay_{name}_t:s0" for path, name in LABELS.items()}
    assert not [path for path in SYSTEMS_OWN if "tracker_relay" in label(contexts, path)]
    removed = store("remove")
    assert removed.returncode == 0, removed.stderr
    assert listed(store) == []
    assert not (store.root / "packages").exists()
    assert "tracker" not in contexts.read_text()
