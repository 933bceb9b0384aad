"""[dns]: what `check` says of resolvers that can not be asked, and what it accepts."""

import pytest

from relay import config
from relay.records import Nameserver

OK = "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n[dns]\n"

FORM = "write its address, as in 127.0.0.1, 192.0.2.1:5353 or [2001:db8::1]:53"
BROKEN = {
    "a name as name server": (
        "nameservers = ns.example.com\n",
        f"nameservers: 'ns.example.com' is no name server: {FORM}",
    ),
    "a port too large": (
        "nameservers = 127.0.0.1:70000\n",
        f"nameservers: '127.0.0.1:70000' is no name server: {FORM}",
    ),
    "port 0": ("nameservers = 127.0.0.1, [::1]:0\n", f"nameservers: '[::1]:0' is no name server: {FORM}"),
    "half an address": ("nameservers = 127.0.0\n", f"nameservers: '127.0.0' is no name server: {FORM}"),
    "no time at all": ("timeout = 0\n", "timeout: '0': between 0.1s and 1m"),
    "an hour": ("timeout = 1h\n", "timeout: '1h': between 0.1s and 1m"),
    "a time that is none": ("timeout = soon\n", "timeout: 'soon' is no duration such as 90s, 5m, 1h or 5d"),
    "another name": ("nameserver = 127.0.0.1\n", "nameserver: no such option: did you mean nameservers?"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_check_names_it(name, checked):
    line, said = BROKEN[name]
    assert checked(OK + line).faults == [f"5: [dns] {said}"]


def test_the_forms_of_a_name_server(tmp_path):
    path = tmp_path / "config.ini"
    path.write_text(OK + "nameservers = 127.0.0.1, 192.0.2.1:5353\n  [2001:db8::1]:53 ::1\ntimeout = 500ms\n")
    assert [f.text for f in config.read(path, {}).faults] == ["'500ms' is no duration such as 90s, 5m, 1h or 5d"]
    path.write_text(OK + "nameservers = 127.0.0.1, 192.0.2.1:5353\n  [2001:db8::1]:53 ::1\ntimeout = 0.5s\n")
    loaded = config.read(path, {})
    assert loaded.fault_lines() == []
    assert loaded.configuration.dns.nameservers == (
        Nameserver("127.0.0.1"),
        Nameserver("192.0.2.1", 5353),
        Nameserver("2001:db8::1"),
        Nameserver("::1"),
    )
    assert loaded.configuration.dns.timeout == 0.5
    assert [str(one) for one in loaded.configuration.dns.nameservers][2:] == ["[2001:db8::1]:53", "[::1]:53"]
