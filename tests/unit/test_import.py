"""`import`: a trac.ini of any release becomes a configuration that `check` accepts, and no password shows."""

import configparser
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay import cli, config, securing
from relay.importing import converted, tracini

TRAC_16 = Path(__file__).parents[1] / "data" / "trac-ini" / "trac16.ini"
PASSWORD = "p%ä;#=x y"


class Imported:
    def __init__(self, folder, status, out, err):
        self.status, self.out, self.err = status, out, err
        path = folder / "config.ini"
        path.write_text(out)
        loaded = config.read(path, {})
        self.faults = loaded.fault_lines()
        self.warnings = [(f.option, f.text) for f in loaded.warnings]
        self.policy, self.hop = loaded.configuration.policy, loaded.configuration.next_hop
        self.catch_all = [str(a) for a in loaded.configuration.listener.catch_all]
        back = "\n".join(line.removeprefix("#   ") for line in out.splitlines() if line.startswith("#   "))
        self.back = configparser.ConfigParser(interpolation=None)
        self.back.read_string(back)

    def remark(self, option):
        """The comments above an option."""
        lines = self.out.splitlines()
        at = next(n for n, line in enumerate(lines) if line.startswith(f"{option} ="))
        above = at
        while lines[above - 1].startswith("#"):
            above -= 1
        return " ".join(line.removeprefix("#").strip() for line in lines[above:at])


@pytest.fixture
def imported(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)

    def run(text, *arguments, name="trac.ini"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        status = cli.main(["import", *arguments, str(path)])
        out, err = capfdbinary.readouterr()
        return Imported(tmp_path, status, out.decode(), err.decode())

    return run


def test_what_trac_16_writes_itself(imported):
    made = imported(TRAC_16.read_bytes())
    assert (made.status, made.faults) == (0, [])
    assert not made.policy.smtp_enabled
    assert "trac.ini says so: no notification is sent" in made.remark("smtp_enabled")
    assert (made.hop.smtp_server, made.hop.smtp_port, securing.mode(made.hop)) == ("localhost", 25, "none")
    assert (str(made.policy.smtp_from), str(made.policy.smtp_replyto)) == ("trac@localhost", "trac@localhost")
    assert (made.policy.mime_encoding, made.policy.smtp_subject_prefix) == ("none", "__default__")
    assert made.catch_all == []
    assert "email_address_resolvers: the tracker decides that" in made.out
    assert [option for option, _ in made.warnings] == ["smtp_enabled"]


OLD = f"""# 0.10
[project]
name = Häfen
[notification]
always_notify_owner = true
always_notify_reporter = yes
always_notify_updater = false
smtp_always_bcc = audit@example.org
smtp_always_cc = a@example.org, b@example.org c@example.org
smtp_default_domain = corp.example.com
smtp_enabled = true
smtp_from = bot
smtp_from_name = Häfen: "Night" 100%
smtp_password = {PASSWORD}
smtp_port = 465
smtp_replyto =
smtp_server = mail.example.com
smtp_subject_prefix =
smtp_user = John Doe
use_public_cc = 1
use_tls = true
mime_encoding = Quoted-Printable
"""


def test_an_old_one_in_full(imported, tmp_path):
    made = imported(OLD)
    assert (made.status, made.faults) == (0, [])
    policy, hop = made.policy, made.hop
    assert policy.smtp_enabled
    assert policy.use_public_cc
    assert (policy.always_notify_owner, policy.always_notify_reporter, policy.always_notify_updater) == (
        True,
        True,
        False,
    )
    assert list(map(str, policy.smtp_always_cc)) == ["a@example.org", "b@example.org", "c@example.org"]
    assert list(map(str, policy.smtp_always_bcc)) == ["audit@example.org"]
    assert (str(policy.sender), policy.smtp_from_name) == ("bot@corp.example.com", 'Häfen: "Night" 100%')
    assert (policy.smtp_subject_prefix, policy.mime_encoding, policy.smtp_replyto) == ("", "qp", None)
    assert (hop.smtp_server, hop.smtp_port, securing.mode(hop)) == ("mail.example.com", 465, "implicit")
    assert (hop.smtp_user, hop.smtp_password.reveal()) == ("John Doe", PASSWORD)
    assert made.catch_all == [converted.CATCH_ALL]
    back = dict(made.back["notification"])
    assert back == {
        "smtp_enabled": "true",
        "smtp_server": "localhost",
        "smtp_port": "2525",
        "use_tls": "false",
        "smtp_user": "",
        "smtp_password": "",
        "smtp_always_cc": converted.CATCH_ALL,
        "smtp_always_bcc": "",
    }
    secret = tmp_path / "smtp.password"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert PASSWORD not in made.out + made.err
    assert f"the password stands in {secret}, which only you may read" in made.err


CASES = {
    "nothing": ("[trac]\n", {"smtp_enabled": False, "sender": "trac@localhost", "smtp_server": "localhost"}),
    "odd booleans": ("smtp_enabled = 2\nuse_public_cc = maybe\nuse_short_addr = On\n", {"smtp_enabled": True, "use_public_cc": False, "use_short_addr": True}),
    "a colon": ("smtp_server: mail.example.com\nsmtp_from:bot@example.com\n", {"smtp_server": "mail.example.com", "sender": "bot@example.com"}),
    "names in any case": ("SMTP_Server = mail.example.com\n", {"smtp_server": "mail.example.com"}),
    "comments of python 2": ("smtp_port = 26 ; here\nsmtp_enabled = true ; yes\nsmtp_default_domain = corp.example ;x\n", {"smtp_port": 26, "smtp_enabled": True, "smtp_default_domain": "corp.example"}),
    "a comment behind a list": ("smtp_always_cc = a@example.org, b@example.org ; the boss\n", {"smtp_always_cc": ["a@example.org", "b@example.org"]}),
    "a list with semicolons": ("smtp_always_cc = a@example.org; b@example.org ; c@example.org\n", {"smtp_always_cc": ["a@example.org", "b@example.org", "c@example.org"]}),
    "a list on lines": ("smtp_always_cc = a@example.org,\n  b@example.org\n\n\tc@example.org\n", {"smtp_always_cc": ["a@example.org", "b@example.org", "c@example.org"]}),
    "a list with names": ('smtp_always_cc = "Boss, The" <boss@example.org>, dana\n', {"smtp_always_cc": ["boss@example.org", "dana"]}),
    "a list with rubbish": ("smtp_always_cc = a@example.org, x@@y, <b@example.org\n", {"smtp_always_cc": ["a@example.org"]}),
    "the last of two counts": ("smtp_port = 26\nsmtp_port = 27\n", {"smtp_port": 27}),
    "a name in smtp_from": ("smtp_from = Häfen <bot@example.com>\n", {"sender": "bot@example.com", "smtp_from_name": "Häfen"}),
    "a name in both": ("smtp_from = Häfen <bot@example.com>\nsmtp_from_name = Crew\n", {"sender": "bot@example.com", "smtp_from_name": "Crew"}),
    "no sender": ("smtp_from =\nsmtp_replyto =\n", {"sender": "trac@localhost"}),
    "no sender, but a user": ("smtp_from =\nsmtp_server = h\nsmtp_user = u@gmail.com\nsmtp_password = x\n", {"sender": "u@gmail.com"}),
    "only smtp_replyto": ("smtp_from =\nsmtp_replyto = r@example.com\n", {"sender": "r@example.com", "smtp_from": None}),
    "a sender that is none": ("smtp_from = Trac Team\nsmtp_replyto = a b\n", {"sender": "trac@localhost"}),
    "a bare sender": ("smtp_from = bot\n", {"sender": "bot@localhost"}),
    "a bare sender that may be": ("smtp_from = bot\nuse_short_addr = true\n", {"sender": "bot"}),
    "a domain with @": ("smtp_from = bot\nsmtp_default_domain = @corp.example\n", {"sender": "bot@corp.example"}),
    "a domain that is none": ("smtp_default_domain = a b\n", {"smtp_default_domain": ""}),
    "no port": ("smtp_port = smtp\n", {"smtp_port": 25}),
    "a port behind the server": ("smtp_server = mail.example.com:587\n", {"smtp_server": "mail.example.com", "smtp_port": 587}),
    "a server by IPv6": ("smtp_server = [2001:db8::1]\nsmtp_port = 26\n", {"smtp_server": "[2001:db8::1]", "smtp_port": 26}),
    "a server that is none": ("smtp_server = my mail server\n", {"smtp_server": "localhost"}),
    "the relay already": ("smtp_server = localhost\nsmtp_port = 2525\n", {"smtp_server": ""}),
    "sendmail": ("email_sender = SendmailEmailSender\nsmtp_server = x.example.com\nsmtp_user = a\nsmtp_password = b\n", {"smtp_server": "localhost", "smtp_port": 25, "smtp_user": "", "email_sender": "SmtpEmailSender"}),
    "a password in clear": ("smtp_server = mail.example.com\nsmtp_user = a\nsmtp_password = b\n", {"mode": "starttls", "smtp_user": "a"}),
    "a password in clear on purpose": ("smtp_server = mail.example.com\nuse_tls = off\nsmtp_user = a\nsmtp_password = b\n", {"mode": "starttls", "smtp_user": "a"}),
    "a password for this host": ("smtp_user = a\nsmtp_password = b\nuse_tls = false\n", {"mode": "none", "smtp_user": "a"}),
    "a user without a password": ("smtp_server = mail.example.com\nsmtp_user = a\n", {"smtp_user": ""}),
    "a password without a user": ("smtp_password = hunter2\nsmtp_user =  \n", {"smtp_user": ""}),
    "port 465 and no TLS": ("smtp_server = m\nsmtp_port = 465\nuse_tls = false\n", {"mode": "implicit"}),
    "no encoding": ("smtp_enabled = true\n", {"mime_encoding": "none"}),
    "base64": ("mime_encoding = BASE64\n", {"mime_encoding": "base64"}),
    "an encoding that is none": ("mime_encoding = utf-8\n", {"mime_encoding": "auto"}),
    "the author's name": ("smtp_from_author = enabled\n", {"from_": "keep"}),
    "realms": ("ignore_domains = REALM.example.com, a b@c\n", {"ignore_domains": ["realm.example.com", "a"]}),
    "percent": ("smtp_from_name = 100% %(x)s %%\nsmtp_subject_prefix = [50%]\n", {"smtp_from_name": "100% %(x)s %%", "smtp_subject_prefix": "[50%]"}),
    "options of 1.2 that are gone": ("always_notify_owner = true\ndefault_format.email = text/plain\n", {"always_notify_owner": False}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_oddity_passes_check_and_means_what_trac_makes_of_it(imported, name):
    text, expected = CASES[name]
    made = imported(text if text.startswith("[") else f"[notification]\n{text}")
    assert (made.status, made.faults) == (0, [])
    for option, value in expected.items():
        if option == "email_sender":
            assert made.back["notification"][option] == value
            continue
        special = {"sender": lambda: made.policy.sender, "mode": lambda: securing.mode(made.hop)}
        found = special[option]() if option in special else next(
            getattr(kind, option) for kind in (made.policy, made.hop) if hasattr(kind, option)
        )  # fmt: skip
        found = list(map(str, found)) if isinstance(found, tuple) else found
        assert (str(found) if option == "sender" else found) == value, option
    assert {text for option, text in made.warnings if option != "smtp_enabled"} <= set()
    assert "hunter2" not in made.out + made.err


@pytest.mark.parametrize(
    ("text", "option", "said"),
    [
        ("use_public_cc = maybe", "use_public_cc", "trac.ini says 'maybe', which Trac takes for false"),
        ("smtp_from = Bot <b@example.com>", "smtp_from_name", "Trac takes the name in smtp_from for a part of the address."),
        ("smtp_from =\nsmtp_replyto =", "smtp_from", "trac.ini names no sender: set the address that mail shall come from."),
        ("smtp_port = smtp", "smtp_port", "trac.ini says 'smtp', with which Trac sends nothing; this is Trac's default"),
        ("smtp_port = 465\nsmtp_server = m", "smtp_port", "465 is TLS from the first octet, which Trac can not speak and this relay does."),
        ("smtp_server = m.example\nsmtp_user = a\nsmtp_password = b", "use_tls", "trac.ini sends the password unprotected. This relay never does: the server must offer STARTTLS."),
        ("smtp_always_cc = dana", "smtp_always_cc", "dana is a login: say in [users] who that is, else it is left out."),
        ("smtp_always_cc = a@@b", "smtp_always_cc", "'a@@b' is no address: left out"),
        ("mime_encoding = 8bit", "mime_encoding", "trac.ini says '8bit', with which Trac sends nothing."),
        ("smtp_user = a\nsmtp_password = x%%y", "smtp_password_file", "The password holds %%: where your Trac is so old that it reads this as one %, write one % there."),
    ],
)  # fmt: skip
def test_what_is_not_as_trac_ini_says_is_explained_above_it(imported, text, option, said):
    assert said in imported(f"[notification]\n{text}\n").remark(option)


def test_what_is_left_out_is_named_without_its_value(imported):
    made = imported(
        "[notification]\nadmit_domains = localdomain\nsmtp_colour = hunter2\nsmtp_user = a\nsmtp_server = m.example\n"
        "always_notify_owner = true\n[notification-subscriber]\n"
    )
    assert "# admit_domains: one-label domains are accepted anyway. It stays in trac.ini." in made.out
    assert "# Not known, and left out: smtp_colour." in made.out
    assert "# smtp_user: a has no smtp_password in trac.ini, so there is no log-in" in made.out
    assert "# always_notify_owner: Trac 1.2 and later do not know it" in made.out
    assert "hunter2" not in made.out


def test_inherited_files(imported, tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "site.ini").write_text(
        "[notification]\nsmtp_server = site.example.com\nsmtp_port = 26\n[inherit]\nfile = all.ini\n"
    )
    (tmp_path / "all.ini").write_text(
        "[notification]\nsmtp_port = 27\nsmtp_from = all@example.com\n[inherit]\nfile = conf/trac.ini\n"
    )
    (tmp_path / "second.ini").write_text("[notification]\nsmtp_server = second.example.com\nsmtp_from_name = Second\n")
    made = imported(
        "[inherit]\nfile = ../site.ini, ../second.ini, gone.ini\n[notification]\nsmtp_enabled = true\n",
        name="conf/trac.ini",
    )
    assert made.faults == []
    assert (made.hop.smtp_server, made.hop.smtp_port) == ("site.example.com", 26)
    assert (str(made.policy.smtp_from), made.policy.smtp_from_name) == ("all@example.com", "Second")
    assert made.policy.smtp_enabled
    assert "gone.ini, which it inherits from: No such file or directory: left out" in made.out.replace("\n# ", " ")
    assert "inherits from it: left out" in made.out.replace("\n# ", " ")


def test_the_folder_of_an_environment(tmp_path, capfd):
    (tmp_path / "env" / "conf").mkdir(parents=True)
    assert cli.main(["import", str(tmp_path / "env")]) == 66
    (tmp_path / "env" / "conf" / "trac.ini").write_text("[notification]\nsmtp_port = 26\n")
    assert cli.main(["import", str(tmp_path / "env")]) == 0
    assert "smtp_port = 26\n" in capfd.readouterr().out


def test_latin_1_bom_and_crlf(imported):
    assert imported("[notification]\r\nsmtp_from_name = Häfen\r\n".encode("latin-1")).policy.smtp_from_name == "Häfen"
    assert imported("\ufeff[notification]\nsmtp_from_name = Häfen\n").policy.smtp_from_name == "Häfen"


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        (
            b"smtp_server = x\n",
            65,
            "trac.ini:1: it stands before the first [section]: Trac can not read this file either",
        ),
        (b"[notification]\nsmtp_server\n", 65, "trac.ini:2: no option: Trac can not read this file either"),
        (b"\x7fELF\0\0", 65, "trac.ini: it holds NUL octets: is it a trac.ini?"),
    ],
)
def test_what_is_no_trac_ini_is_one_line(imported, text, status, said):
    made = imported(text)
    assert (made.status, made.out) == (status, "")
    assert made.err.endswith(f"{said}\n")
    assert len(made.err.splitlines()) == 1


def test_a_missing_one_is_one_line(tmp_path, capsys):
    assert cli.main(["import", str(tmp_path / "none.ini")]) == 66
    assert capsys.readouterr().err == f"tracker-relay: {tmp_path}/none.ini: No such file or directory\n"


def test_of_a_folder_the_file_that_is_missing_is_named_or_the_one_that_is_there_taken(tmp_path, capsys):
    assert cli.main(["import", str(tmp_path)]) == 66
    assert capsys.readouterr().err == f"tracker-relay: {tmp_path}/conf/trac.ini: No such file or directory\n"
    (tmp_path / "trac.ini").write_text("[notification]\nsmtp_server = beside.example\n")
    assert cli.main(["import", str(tmp_path)]) == 0
    assert "smtp_server = beside.example\n" in capsys.readouterr().out
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "trac.ini").write_text("[notification]\nsmtp_server = inside.example\n")
    assert cli.main(["import", str(tmp_path)]) == 0
    assert "smtp_server = inside.example\n" in capsys.readouterr().out


# --- where a password goes ---------------------------------------------------------------------------------

WITH_PASSWORD = f"[notification]\nsmtp_server = m.example\nsmtp_user = a\nsmtp_password = {PASSWORD}\n"


def test_redirected_it_stands_beside_the_configuration(tmp_path):
    """`tracker-relay import trac.ini > etc/config.ini` gives a file that starts, whoever may read it."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "trac.ini").write_text(WITH_PASSWORD)
    path = tmp_path / "etc" / "config.ini"
    with path.open("w") as out:
        line = [sys.executable, "-m", "relay", "import", str(tmp_path / "trac.ini")]
        done = subprocess.run(line, stdout=out, stderr=subprocess.PIPE, timeout=60, env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0
    path.chmod(0o644)
    assert "smtp_password_file = smtp.password\n" in path.read_text()
    assert PASSWORD.encode() not in path.read_bytes() + done.stderr
    loaded = config.read(path, {})
    assert loaded.faults == []
    assert loaded.configuration.next_hop.smtp_password.reveal() == PASSWORD
    assert not (tmp_path / "smtp.password").exists()


def test_where_it_is_said_and_never_over_another_file(imported, tmp_path):
    place = tmp_path / "secret"
    made = imported(WITH_PASSWORD, "--password-file", str(place))
    assert made.hop.smtp_password.reveal() == PASSWORD
    assert imported(WITH_PASSWORD, "--password-file", str(place)).status == 0, "the same once more"
    place.write_text("other")
    made = imported(WITH_PASSWORD, "--password-file", str(place))
    assert (made.status, made.out) == (73, "")
    assert (
        made.err
        == f"tracker-relay: {place} is there already, with something else in it: remove it, or name another one with --password-file\n"
    )
    assert place.read_text() == "other"
    made = imported(WITH_PASSWORD, "--password-file", str(tmp_path / "none" / "secret"))
    assert (made.status, made.out) == (73, "")
    assert "No such file or directory: say with --password-file where the password may be kept" in made.err


def test_it_is_not_written_through_a_link_nor_kept_where_others_read(imported, tmp_path):
    target = tmp_path / "target"
    (tmp_path / "smtp.password").symlink_to(target)
    assert imported(WITH_PASSWORD).status == 73
    assert not target.exists()
    (tmp_path / "smtp.password").unlink()
    (tmp_path / "smtp.password").write_text(PASSWORD)
    (tmp_path / "smtp.password").chmod(0o644)
    assert imported(WITH_PASSWORD).status == 73


def test_without_a_password_no_file(imported, tmp_path):
    imported("[notification]\nsmtp_password = x\n")
    assert not (tmp_path / "smtp.password").exists()


# --- whatever it says --------------------------------------------------------------------------------------

SECRET = "hunter2-%s-ä"
VALUES = st.one_of(
    st.sampled_from(["", "true", "maybe", "25", "465", "a@example.org", "Name <a@b>", "a b", "x;y ; z", "auto", "@", "%s", "[x]", "unix:/x", "::1"]),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r\n"), max_size=20),
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from([*converted.TRAC_OPTIONS, "sendmail_path", "default_format.email", "x"]), VALUES)
)
def test_whatever_a_trac_ini_says_the_result_passes_check(tmp_path, options):
    if "smtp_password" in options:
        options["smtp_password"] += SECRET
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    path, out, secret = (tmp_path / name for name in ("trac.ini", "config.ini", "smtp.password"))
    path.write_text(f"[notification]\n{lines}")
    made = converted.convert(tracini.read(path), "smtp.password")
    out.write_text(made.text)
    secret.write_text(made.password)
    secret.chmod(0o600)
    assert config.read(out, {}).fault_lines() == []
    assert SECRET not in made.text
