"""config.ini: how it is read, where it lies, what the shipped one says, and what `reference` makes of it."""

import json
import re
from pathlib import Path

import pytest

from relay import cli, config, options, reference, sections
from relay.sections import SECTIONS, WITHOUT_EFFECT, names_of

ROOT = Path(__file__).resolve().parents[2]
HOP = "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\nsmtp_server = mail.example.com\nuse_tls = true\nsmtp_user = John Doe\n"


def read(tmp_path, text, environ=None):
    path = tmp_path / "config.ini"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    loaded = config.read(path, environ or {})
    assert loaded.faults == [], loaded.fault_lines()
    return loaded.configuration


@pytest.mark.parametrize(
    "password", ["p%s %% %(x)s", "# no comment", "a ; b", "k=v=w", "inner  blanks", "Größe €", '"quoted"', "%"]
)
def test_a_password_keeps_every_character(tmp_path, password):
    assert read(tmp_path, HOP + f"smtp_password = {password}\n").next_hop.smtp_password.reveal() == password
    for written, kept in (
        (password + "\n", password),
        (password, password),
        (password + "\n\n", password + "\n"),
        (" x ", " x "),
    ):
        (tmp_path / "pw").write_text(written)
        (tmp_path / "pw").chmod(0o600)
        assert read(tmp_path, HOP + "smtp_password_file = pw\n").next_hop.smtp_password.reveal() == kept


def test_a_secret_shows_itself_nowhere(tmp_path):
    configuration = read(tmp_path, HOP + "smtp_password = hunter2\n")
    assert "hunter2" not in repr(configuration)
    assert "hunter2" not in f"{configuration.next_hop.smtp_password} {configuration.next_hop.smtp_password!r:>30}"
    assert configuration.next_hop.smtp_user == "John Doe"


def test_bom_comments_continuations_and_case(tmp_path):
    text = "\ufeff# note\n; note\n[notification]\nSMTP_From = bugs@example.com\nsmtp_always_cc = a@example.org,\n  b@example.org\n\n\tc@example.org\nsmtp_from_name = x ; no comment # either\n"
    policy = read(tmp_path, text).policy
    assert [str(a) for a in policy.smtp_always_cc] == ["a@example.org", "b@example.org", "c@example.org"]
    assert policy.smtp_from_name == "x ; no comment # either"


def test_relative_paths_are_relative_to_the_file(tmp_path):
    text = HOP.replace("mail.example.com", "unix:mail.sock").replace("use_tls = true\nsmtp_user = John Doe\n", "")
    configuration = read(
        tmp_path, "[listener]\nlisten = unix:run/s\n[spool]\npath = spool\n" + text + "tls_ca_file = /etc/ca.pem\n"
    )
    assert configuration.spool.path == f"{tmp_path}/spool"
    assert configuration.listener.listen[0].path == f"{tmp_path}/run/s"
    assert configuration.next_hop.smtp_server == f"unix:{tmp_path}/mail.sock"
    assert configuration.next_hop.tls_ca_file == "/etc/ca.pem"
    assert read(tmp_path, HOP + "smtp_password = x\n").spool.path == f"{tmp_path}/var/spool"
    assert read(tmp_path, HOP + "smtp_password = x\n").log.file == ""
    assert read(tmp_path, "[log]\nfile = relay.log\n" + HOP + "smtp_password = x\n").log.file == f"{tmp_path}/relay.log"


def test_which_file(monkeypatch):
    class Arguments:
        config = None

    monkeypatch.delenv("TRACKER_RELAY_CONFIG", raising=False)
    assert cli.config_path(Arguments) == Path("/etc/tracker-relay/config.ini")
    monkeypatch.setenv("TRACKER_RELAY_CONFIG", "/x/y.ini")
    assert cli.config_path(Arguments) == Path("/x/y.ini")
    Arguments.config = "z.ini"
    assert cli.config_path(Arguments) == Path("z.ini")


def test_the_shipped_file_departs_from_the_defaults_in_few_places():
    loaded = config.read(ROOT / "config.ini", {})
    assert (loaded.faults, loaded.warnings) == ([], [])
    set_ = {f"{section}.{name}" for section, values in loaded.ini.sections.items() for name in values}
    departs = set()
    for section, kinds in SECTIONS.items():
        for kind in kinds:
            for name, declared in sections.declared(section, kind).items():
                value = loaded.ini.sections.get(section, {}).get(name)
                if value and declared.metadata["parse"](value.text) != declared.default:
                    departs.add(f"{section}.{name}")
    assert departs == {
        "notification.smtp_enabled",
        "notification.smtp_from",
        "notification.smtp_port",
        "notification.mime_encoding",
    }
    assert set_ - departs == {"listener.listen", "spool.path", "notification.smtp_server"}


def test_its_commented_options_exist():
    known = {name for section in SECTIONS for name in names_of(section)}
    commented = re.findall(r"(?m)^#(\w+) =", (ROOT / "config.ini").read_text())
    assert commented
    assert set(commented) <= known


def test_the_reference_names_every_option_with_its_default(capsys):
    assert cli.main(["reference"]) == 0
    text = capsys.readouterr().out
    for section, kinds in SECTIONS.items():
        assert f"[{section}]" in text
        for kind in kinds:
            for name, declared in sections.declared(section, kind).items():
                assert re.search(rf"(?m)^{re.escape(name)} =", text), name
                assert declared.metadata["doc"] in text
    assert all(name in text for name in WITHOUT_EFFECT)
    assert "max_size = 50M" in text
    assert "mime_encoding = base64" in text


def test_the_reference_names_what_stands_once_for_each_name(capsys):
    assert cli.main(["reference"]) == 0
    sections = dict(re.findall(r"(?ms)^\[([^\]]+)\]\n(.*?)(?=^\[|\Z)", capsys.readouterr().out))
    assert re.findall(r"(?m)^(\w+) =", sections["notification:NAME"]) == ["match"], "all else is in [notification]"
    assert {"name", "address", "own_changes", "mute"} <= set(re.findall(r"(?m)^(\w+) =", sections["user:NAME"]))
    hop = re.findall(r"(?m)^(\w+) =", sections["upstream:NAME"])
    assert {"server", "port", "user", "password", "password_file", "tls", "use_tls", "auth"} <= set(hop)
    assert not {"upstream", "outbox", "smtp_server"} & set(hop)
    assert "smtp_password_file" not in sections["upstream:NAME"]


def test_what_the_reference_shows_as_default_reads_back_as_the_default():
    for section, kinds in SECTIONS.items():
        for kind in kinds:
            for declared in sections.declared(section, kind).values():
                shown = reference.shown_default(declared)
                if shown and not shown.startswith("(") and declared.name != "smtp_port":
                    assert declared.metadata["parse"](shown) == declared.default, declared.name


def test_check_as_json(tmp_path, capsys):
    path = tmp_path / "config.ini"
    path.write_text("[notification]\nsmtp_fron = x\n")
    assert cli.main(["--config", str(path), "check", "--json"]) == 78
    form = json.loads(capsys.readouterr().out)
    assert form["file"] == str(path)
    assert {
        "line": 2,
        "section": "notification",
        "option": "smtp_fron",
        "text": "no such option: did you mean smtp_from?",
    } in form["faults"]
    assert form["warnings"][0]["option"] == "smtp_enabled"


def test_a_fault_of_the_program_is_one_line(monkeypatch, capsys):
    def broken(_path):
        raise RuntimeError("planted")

    monkeypatch.setattr(config, "read", broken)
    assert cli.main(["check"]) == 70
    assert capsys.readouterr().err == "tracker-relay: a fault of the program: RuntimeError: planted\n"


@pytest.mark.parametrize(
    ("parse", "good", "bad"),
    [
        (options.boolean, {"Yes": True, "off": False, "1": True}, ["", "maybe", "2"]),
        (options.trac_boolean, {"Enabled": True, "maybe": False, "2": True, "0": False, "": False, "on": True}, []),
        (options.duration, {"90": 90, "1.5h": 5400, "5d": 432000, "2w": 1209600}, ["", "-1", "1y", "h", "1e9"]),
        (options.size, {"4096": 4096, "50M": 50 << 20, "1g": 1 << 30, "2KB": 2048}, ["", "1T", "-1", "1.5M"]),
        (options.integer(1, 9), {"1": 1, " 9 ": 9}, ["0", "10", "x", "1.0", ""]),
        (options.choice("a", "b"), {"A": "a"}, ["c", ""]),
        (options.duration_or_off, {"OFF": None, "1m": 60}, ["never"]),
        (options.listed(str.upper), {"a, b c": ("A", "B", "C"), "": ()}, []),
    ],
)
def test_parsers(parse, good, bad):
    for text, value in good.items():
        assert parse(text) == value
    for text in bad:
        with pytest.raises(ValueError):
            parse(text)


def test_an_address_option_takes_a_name_in_front():
    assert str(options.address("Name <a@b.example>")) == "a@b.example"
    assert str(options.address('"N, M" <a@b.example>')) == "a@b.example"
    assert options.address("  ") is None
    for bad in ("a@b, c@d", "Name <a@b> x", "<a@b"):
        with pytest.raises(ValueError):
            options.address(bad)


def test_users_keep_their_case_and_both_forms(tmp_path):
    text = (
        """[users]
Dana = Dana Field <dana@example.com>
dana = "Field, Dana" <d@example.com>
luc = luc@example.net
old = kim
[user:kim]
name = Kim
address = kim@example.org
own_changes = no
mute = yes
[user:luc]
name = Luc B\u00e9zier
"""
        + "[notification]\nsmtp_from = b@example.com\n"
    )
    made = read(tmp_path, text).users
    assert {
        user.login: (user.own_changes, user.mute) for user in made if user.own_changes is not None or user.mute
    } == {"kim": (False, True)}
    users = {user.login: (user.name, str(user.address)) for user in made}
    assert users == {
        "Dana": ("Dana Field", "dana@example.com"),
        "dana": ("Field, Dana", "d@example.com"),
        "luc": ("Luc B\u00e9zier", "luc@example.net"),
        "old": ("", "kim"),
        "kim": ("Kim", "kim@example.org"),
    }


def test_broken_users(tmp_path):
    path = tmp_path / "config.ini"
    path.write_text("[users]\ndana = Dana Field\n[user:luc]\nadress = x\n[notification]\nsmtp_from = b@example.com\n")
    assert config.read(path, {}).fault_lines() == [
        f"{path}:2: [users] dana: 'Dana Field' is not an address: bad local part; write `login = Full Name <address>`",
        f"{path}:4: [user:luc] adress: no such option: did you mean address?",
    ]
