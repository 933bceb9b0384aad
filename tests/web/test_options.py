"""[status] as config.ini has it: what is refused, what is warned of."""

import pytest

from relay import config

REST = "[notification]\nsmtp_enabled = true\nsmtp_from = b@example.com\n"


def read(tmp_path, text, listen="127.0.0.1:2525"):
    path = tmp_path / "config.ini"
    path.write_text(f"[listener]\nlisten = {listen}\n{text}{REST}")
    loaded = config.read(path, {})
    told = [line.partition("[status] ")[2] for line in (*loaded.fault_lines(), *loaded.warning_lines())]
    return loaded.configuration.status, told, bool(loaded.faults)


def test_by_default_it_is_on_loopback(tmp_path):
    status, told, _ = read(tmp_path, "")
    assert [str(one) for one in status.listen] == ["127.0.0.1:8025"]
    assert (status.token_file, status.hosts, told) == ("", ("localhost", "127.0.0.1", "::1"), [])


def test_paths_are_relative_to_the_file(tmp_path):
    status, told, _ = read(tmp_path, "[status]\nlisten = unix:run/page.sock\ntoken_file = token\n")
    assert (status.listen[0].path, status.token_file, told) == (f"{tmp_path}/run/page.sock", f"{tmp_path}/token", [])


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("listen = 8025", "listen: '8025' is none of host:port, [v6]:port, unix:PATH"),
        (
            "listen = systemd:page",
            "listen: 'systemd:page': the page takes no socket from systemd: use host:port or unix:PATH",
        ),
        ("hosts = http://relay.example.com", "hosts: 'http://relay.example.com' is not a host name"),
        ("hosts = *", "hosts: '*' is not a host name"),
        ("hosts =", "hosts: name at least one host, such as localhost; without this option it is the loopback names"),
        ("token = x", "token: no such option: did you mean token_file?"),
        (
            "listen = 127.0.0.1:2525",
            "listen: 127.0.0.1:2525 is where mail is taken ([listener] listen): name another port",
        ),
    ],
)
def test_what_is_refused(tmp_path, line, text):
    _, told, refused = read(tmp_path, f"[status]\n{line}\n")
    assert refused
    assert len(told) == 1
    assert told[0].startswith(text)


def test_the_default_port_is_no_reason_to_refuse_a_start(tmp_path):
    _, told, refused = read(tmp_path, "", listen="127.0.0.1:8025")
    assert (told, refused) == (
        ["listen: 127.0.0.1:8025 is where mail is taken ([listener] listen): name another port"],
        False,
    )


def test_beyond_loopback_is_warned_of(tmp_path):
    _, [told], refused = read(tmp_path, "[status]\nlisten = 0.0.0.0:8025\n")
    assert "can be reached from other hosts, without TLS" in told
    assert "and set hosts" in told
    assert not refused
    _, [told], _ = read(tmp_path, "[status]\nlisten = 0.0.0.0:8025\nhosts = relay.example.com\n")
    assert "set hosts" not in told


@pytest.mark.parametrize(("mode", "refused"), [(0o600, False), (0o644, True), (0o660, False)])
def test_the_tokens_file_is_as_closed_as_any_secrets(tmp_path, mode, refused):
    (tmp_path / "token").write_text("x" * 40)
    (tmp_path / "token").chmod(mode)
    _, told, faulty = read(tmp_path, "[status]\ntoken_file = token\n")
    assert faulty is refused
    assert bool(told) is refused
    _, told, faulty = read(tmp_path, "[status]\ntoken_file = token\nsecret_modes = warn\n")
    assert not faulty
    assert bool(told) is refused
    _, told, faulty = read(tmp_path, "[status]\nlisten =\ntoken_file = token\n")
    assert (told, faulty) == ([], False)
