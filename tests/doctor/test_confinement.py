"""SELinux and AppArmor, as the kernel's files show them."""

import pytest

from relay.doctor.confinement import confinement, remedy
from relay.routing import Upstream


@pytest.fixture
def host(tmp_path):
    def make(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


ENFORCING = {"sys/fs/selinux/enforce": "1"}
MODULE = ENFORCING | {"sys/fs/selinux/booleans/tracker_relay_web_submit": "1 1"}


def test_neither(host):
    [row] = confinement(2525, [], host({}))
    assert (row.level, row.text) == ("ok", "neither SELinux nor AppArmor is on")


def test_enforcing_without_the_module(host):
    [row] = confinement(2626, [], host(ENFORCING))
    assert row.level == "warn" and "EACCES at port 2626" in row.text
    assert "make -C contrib/selinux install" in row.remedy
    assert "semanage port -a -t smtp_port_t -p tcp 2626; setsebool -P httpd_can_sendmail 1" in row.remedy
    assert remedy(2626, host(ENFORCING)).startswith("make -C contrib/selinux install")


def test_the_module_and_what_it_keeps_closed(host):
    closed = {f"sys/fs/selinux/booleans/tracker_relay_{name}": "0 0" for name in ("web_submit", "connect_2525")}
    hops = [Upstream("a", "mail.example.com", 2525), Upstream("b", "mail.example.com", 1025)]
    texts = [(row.level, row.remedy) for row in confinement(2525, hops, host(ENFORCING | closed))]
    assert texts == [
        ("warn", "setsebool -P tracker_relay_web_submit on"),
        ("warn", "semanage port -a -t smtp_port_t -p tcp 1025"),
        ("warn", "setsebool -P tracker_relay_connect_2525 on"),
    ]


def test_the_module_is_there(host):
    [row] = confinement(2525, [Upstream("a", "mail.example.com", 587)], host(MODULE))
    assert (row.level, row.text) == ("ok", "enforcing, with the module tracker_relay")


def test_permissive_and_apparmor(host):
    files = {"sys/fs/selinux/enforce": "0", "sys/module/apparmor/parameters/enabled": "Y\n"}
    one, two = confinement(2525, [], host(files | {"proc/self/attr/current": "unconfined\n"}))
    assert "permissive" in one.text and one.level == "ok"
    assert two.about == "AppArmor" and "network inet stream" in two.text
