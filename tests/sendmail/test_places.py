"""Which relay the drop-in speaks to: it must be found by users who may read nothing of the configuration."""

import pytest

from relay import places, sendmail
from relay.sendmail.submission import Failed


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with an installed relay or without, and a program in a checkout or without one."""

    def make(*, installed=False, socket=False, checkout=False):
        monkeypatch.setattr(places, "CONFIG", str(tmp_path / "etc" / "config.ini"))
        monkeypatch.setattr(places, "RUN", str(tmp_path / "run"))
        monkeypatch.setattr(sendmail, "__file__", str(tmp_path / "src" / "relay" / "sendmail" / "__init__.py"))
        for wanted, path in (
            (installed, "etc/config.ini"),
            (socket, "run/submission.sock"),
            (checkout, "src/pyproject.toml"),
            (checkout, "src/config.ini"),
        ):
            if wanted:
                (tmp_path / path).parent.mkdir(exist_ok=True)
                (tmp_path / path).write_text("")
        return tmp_path

    return make


def found(environ, given=None):
    config = sendmail.config_path(given, environ)
    return config, sendmail.socket_path(config, environ)


def test_the_installed_relay(host):
    place = host(installed=True, checkout=True)
    assert found({}) == (f"{place}/etc/config.ini", f"{place}/run/submission.sock")


def test_the_installed_relay_whose_folder_may_not_be_entered(host):
    place = host(socket=True, checkout=True)
    assert found({})[1] == f"{place}/run/submission.sock"


def test_nothing_anywhere_is_the_installed_one_that_does_not_run(host):
    place = host()
    assert found({})[1] == f"{place}/run/submission.sock"


def test_a_checkouts_own(host):
    place = host(checkout=True)
    assert found({}) == (f"{place}/src/config.ini", f"{place}/src/var/submission.sock")


def test_a_configuration_that_is_named(host, monkeypatch):
    place = host(installed=True)
    assert found({"TRACKER_RELAY_CONFIG": f"{place}/a/config.ini"})[1] == f"{place}/a/var/submission.sock"
    assert found({"TRACKER_RELAY_CONFIG": "/x/c.ini"}, f"{place}/b.ini")[1] == f"{place}/var/submission.sock"
    monkeypatch.chdir(place)
    assert found({}, "b.ini") == (f"{place}/b.ini", f"{place}/var/submission.sock")


@pytest.mark.parametrize(
    ("line", "socket"), [("submission = s.sock", "{}/s.sock"), ("submission = /run/x.sock", "/run/x.sock"), ("", "{}/var/submission.sock")]
)  # fmt: skip
def test_a_configuration_that_may_be_read(tmp_path, line, socket):
    (tmp_path / "config.ini").write_text(f"[listener]\n{line}\n")
    assert found({}, f"{tmp_path}/config.ini")[1] == socket.format(tmp_path)


def test_a_configuration_without_a_socket(tmp_path):
    (tmp_path / "config.ini").write_text("[listener]\nsubmission =\n")
    with pytest.raises(Failed, match="gives the drop-in no socket"):
        found({}, f"{tmp_path}/config.ini")


def test_the_environment_comes_first(tmp_path):
    assert found({"TRACKER_RELAY_SOCKET": "unix:/x/s"})[1] == "/x/s"
    assert found({"TRACKER_RELAY_SOCKET": "/x/s"})[1] == "/x/s"


def test_the_daemon_listens_where_the_drop_in_looks(tmp_path):
    from relay import config

    path = tmp_path / "config.ini"
    path.write_text("[notification]\nsmtp_from = a@example.com\n")
    assert config.read(path).configuration.submission_socket == found({}, str(path))[1]
