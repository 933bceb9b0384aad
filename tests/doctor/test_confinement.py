"""SELinux and AppArmor, as the kernel's files show them."""

from dataclasses import replace

import pytest

from relay.doctor.confinement import confinement, remedy, unreachable
from relay.records import Nameserver
from relay.routing import MX, WANTED, Upstream


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
    [row] = confinement(2525, [], (), host({}))
    assert (row.level, row.text) == ("ok", "neither SELinux nor AppArmor is on")


def test_enforcing_without_the_module(host):
    [row] = confinement(2626, [], (), host(ENFORCING))
    assert row.level == "warn" and "EACCES at port 2626" in row.text
    assert "make -C contrib/selinux install" in row.remedy
    assert "semanage port -a -t smtp_port_t -p tcp 2626; setsebool -P httpd_can_sendmail 1" in row.remedy
    assert remedy(2626, host(ENFORCING)).startswith("make -C contrib/selinux install")


def test_the_module_and_what_it_keeps_closed(host):
    closed = {f"sys/fs/selinux/booleans/tracker_relay_{name}": "0 0" for name in ("web_submit", "connect_2525")}
    hops = [Upstream("a", "mail.example.com", 2525), Upstream("b", "mail.example.com", 1025)]
    texts = [(row.level, row.remedy) for row in confinement(2525, hops, (), host(ENFORCING | closed))]
    assert texts == [
        ("warn", "setsebool -P tracker_relay_web_submit on"),
        ("warn", "semanage port -a -t smtp_port_t -p tcp 1025"),
        ("warn", "setsebool -P tracker_relay_connect_2525 on"),
    ]


def opened(*names):
    """The files of an enforcing kernel with the module, where these of its booleans are on."""
    known = ("web_submit", "connect_2525", "connect_https")
    states = {f"sys/fs/selinux/booleans/tracker_relay_{name}": "1 1" if name in names else "0 0" for name in known}
    return ENFORCING | states


def test_direct_delivery_and_policies(host):
    direct = Upstream(MX, port=25, sts=WANTED)
    texts = [(row.text, row.remedy) for row in confinement(2525, [direct], (), host(opened("web_submit")))][1:]
    assert texts == [
        (
            "the relay may not fetch MTA-STS policies, and sends without: tracker_relay_connect_https is off",
            "setsebool -P tracker_relay_connect_https on\nor, to do without them:\n[mx]\nmta_sts = false",
        )
    ]
    assert len(list(confinement(2525, [replace(direct, sts="")], (), host(opened("web_submit"))))) == 1
    assert len(list(confinement(2525, [direct], (), host(opened("web_submit", "connect_https"))))) == 1
    [_, row] = confinement(2525, [replace(direct, port=2626)], (), host(opened("web_submit", "connect_https")))
    assert row.remedy == "semanage port -a -t smtp_port_t -p tcp 2626"


def test_a_server_that_dns_will_name_has_no_port_yet(host):
    named = Upstream("a", "srv:example.com", 0)
    assert len(list(confinement(2525, [named], (), host(opened("web_submit"))))) == 1


def test_a_socket_of_this_host_is_the_affair_of_another_policy(host):
    local = [Upstream("a", "unix:/run/mta.sock", 2626), Upstream("b", "unix:/run/mta.sock", 25)]
    [_, row] = confinement(2525, local, (), host(opened("web_submit")))
    assert row.text == "the relay may not connect to unix:/run/mta.sock, unless a policy of yours allows it"
    assert "audit2allow" in row.remedy


def test_a_name_server_on_another_port(host):
    asked = [Nameserver("127.0.0.1", 5353), Nameserver("::1", 5353), Nameserver("127.0.0.1")]
    assert len(list(confinement(2525, [], asked, host(ENFORCING)))) == 1, "without the module the relay is not confined"
    [_, row] = confinement(2525, [], asked, host(opened("web_submit")))
    assert row.remedy == "semanage port -a -t dns_port_t -p tcp 5353"


def test_the_module_is_there(host):
    [row] = confinement(2525, [Upstream("a", "mail.example.com", 587)], (), host(MODULE))
    assert (row.level, row.text) == ("ok", "enforcing, with the module tracker_relay")


def test_permissive_and_apparmor(host):
    files = {"sys/fs/selinux/enforce": "0", "sys/module/apparmor/parameters/enabled": "Y\n"}
    one, two = confinement(2525, [], (), host(files | {"proc/self/attr/current": "unconfined\n"}))
    assert "permissive" in one.text and one.level == "ok"
    assert two.about == "AppArmor" and "network inet stream" in two.text


def test_ports_that_dns_has_named(host):
    root = host(opened("web_submit"))
    assert [row.remedy for row in unreachable([587, 2626, 2525, 2626], root)] == [
        "setsebool -P tracker_relay_connect_2525 on",
        "semanage port -a -t smtp_port_t -p tcp 2626",
    ]


@pytest.mark.parametrize("files", [{}, {"sys/fs/selinux/enforce": "0"}, {"sys/fs/selinux/enforce": "1"}])
def test_where_nothing_confines_the_relay_no_port_is_out_of_reach(host, files):
    assert list(unreachable([2626], host(files))) == []
