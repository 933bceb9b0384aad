"""`tracker-relay doctor` as a command: order, JSON, exit status, the running daemon, another user, a test mail."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from relay import config, control
from relay.doctor import own
from relay.errors import SpoolError
from relay.spool.folder import enter
from tests.e2e.tools import ROOT, ROOT_ONLY, closed_port, until


def rows_of(relay, *arguments, status=None):
    ended = relay.run("doctor", "--json", *arguments)
    assert b"Traceback" not in ended.stderr, ended.stderr
    rows = json.loads(ended.stdout)
    failed = [row for row in rows if row["level"] == "fail"]
    assert ended.returncode == (1 if failed else 0), rows
    assert status is None or ended.returncode == status, failed
    assert all(set(row) == {"check", "about", "level", "text", "remedy"} for row in rows)
    assert all(row["remedy"] for row in failed)
    return rows


def of(rows, check):
    return [row for row in rows if row["check"] == check]


def test_a_running_relay_is_well(relay, hop):
    relay.set_hop(hop.port).start()
    rows = rows_of(relay, status=0)
    order = list(dict.fromkeys(row["check"] for row in rows))
    assert order == ["config", "spool", "daemon", "policy", "dns", "tcp", "greeting", "tls", "ehlo", "auth", "sender"]
    socket, listener, submission = of(rows, "daemon")
    assert socket["text"] == "it runs, and answers"
    assert listener == {
        "check": "daemon",
        "about": f"127.0.0.1:{relay.port}",
        "level": "ok",
        "text": "it answers: 220 relay.example.com ESMTP",
        "remedy": "",
    }
    assert submission["level"] == "ok" and submission["about"].startswith("unix:")
    assert hop.subjects == []
    shown = relay.command("doctor")
    assert f"OK    daemon    127.0.0.1:{relay.port}: it answers" in shown
    assert " FAIL" in shown.splitlines()[-1]


def test_nobody_runs(relay, hop):
    relay.set_hop(hop.port)
    rows = rows_of(relay, status=1)
    socket, listener, _ = of(rows, "daemon")
    assert socket["text"] == "no daemon answers there: the relay does not run"
    assert socket["remedy"] == f"tracker-relay --config {relay.folder}/config.ini run"
    assert listener["text"] == "nothing listens there: Connection refused"
    assert not (relay.folder / "var").exists(), "a look has made something"


def test_something_else_listens_there(relay, hop):
    relay.set_hop(hop.port)
    path = relay.folder / "config.ini"
    path.write_text(path.read_text().replace(f"listen = 127.0.0.1:{relay.port}", f"listen = 127.0.0.2:{hop.port}"))
    hop.sock.close()
    import socket
    import threading

    with socket.create_server(("127.0.0.2", hop.port)) as stranger:

        def greet():
            connection, _ = stranger.accept()
            with connection:
                connection.sendall(b"220 mail.example.com ESMTP Postfix\r\n")
                connection.recv(100)

        threading.Thread(target=greet, daemon=True).start()
        listener = of(rows_of(relay), "daemon")[1]
    assert listener["text"] == "something else answers there: 220 mail.example.com ESMTP Postfix"
    assert "ss -ltnp" in listener["remedy"]


def test_a_configuration_with_faults(relay):
    relay.configure("[notification]\nsmtp_enabled = true\nsmtp_from = a@example.com\nsmtp_prot = 25\n")
    rows = rows_of(relay, status=1)
    [fault] = [row for row in of(rows, "config") if row["level"] == "fail"]
    assert "did you mean smtp_port?" in fault["text"]
    assert fault["remedy"].startswith("editor +")
    assert not of(rows, "dns")


def test_no_configuration_at_all(relay):
    [row] = rows_of(relay, status=1)
    assert (row["check"], row["level"]) == ("config", "fail")
    assert "No such file or directory: name the file with --config" in row["text"]


@ROOT_ONLY
def test_a_user_who_may_not_ask_the_daemon_is_not_told_that_it_runs(relay, hop):
    relay.set_hop(hop.port).start()
    configuration = config.read(relay.folder / "config.ini").configuration
    for stopped in (False, True):
        if stopped:
            relay.stop()
        os.seteuid(65534)
        try:
            assert control.answers(control.socket_path(configuration)) is None
            socket, listener, *_ = own.daemon(configuration, "relay.example.com")
        finally:
            os.seteuid(0)
        assert (socket.level, socket.text) == ("warn", "this user may not ask whether it runs: Permission denied")
        assert socket.remedy == f"sudo tracker-relay --config {configuration.path} doctor"
        assert listener.level == ("fail" if stopped else "ok")
        assert "the relay runs" not in listener.text
    assert control.answers(control.socket_path(configuration)) is False


def test_a_configuration_that_may_not_be_read_is_no_work_for_an_editor(tmp_path):
    path = tmp_path / "config.ini"
    loaded = config.read(path)
    assert [row.remedy for row in own.configuration(loaded)] == ["sudo tracker-relay --config FILE doctor"]
    path.mkdir()
    loaded = config.read(path)
    assert [row.remedy for row in own.configuration(loaded)] == [f"sudo tracker-relay --config {path} doctor"]


@ROOT_ONLY
def test_a_spool_that_this_user_could_not_make(relay, hop, tmp_path):
    configuration = config.read(relay.set_hop(hop.port).folder / "config.ini").configuration
    folder = tmp_path / "kept"
    folder.mkdir()
    named = replace(configuration, spool=replace(configuration.spool, path=str(folder / "var" / "spool")))
    [row] = own.spool(named)
    assert (row.level, row.text) == ("ok", "not there yet: the first start makes it")
    for above in (folder, *folder.parents[:3]):
        above.chmod(0o755)
    os.seteuid(65534)
    try:
        [row] = own.spool(named)
        with pytest.raises(SpoolError) as refused:
            enter(folder / "var" / "spool", [], folder / "var" / "spool" / "x")
    finally:
        os.seteuid(0)
    text = f"not there yet, and this user can not make it: no write access to {folder}"
    assert (row.level, row.text) == ("warn", text)
    assert str(refused.value) == (
        f"spool {folder}/var/spool: Permission denied: give user 65534 a folder of its own there (chown), "
        "or name another with [spool] path"
    )


def test_why_mail_waits(relay):
    relay.set_hop(closed_port()).start()
    relay.send(b"Subject: waits\r\n\r\nx\r\n")
    relay.wait_log("status=deferred")
    until(lambda: of(rows_of(relay), "spool")[-1]["level"] == "warn", "the mail that waits")
    row = of(rows_of(relay), "spool")[-1]
    assert "1 wait for another try" in row["text"] and "Connection refused" in row["text"], row
    relay.command("queue", "hold", "--all", "--yes")
    row = of(rows_of(relay), "spool")[-1]
    assert row["text"].startswith("1 held: ")
    assert "queue release ID" in row["remedy"]


def test_damaged_mail_and_a_file_of_somebody_else(relay, hop):
    relay.set_hop(hop.port).start()
    relay.stop()
    corrupt = relay.folder / "var" / "spool" / "corrupt"
    corrupt.mkdir()
    (corrupt / "x.eml").write_text("x")
    rows = of(rows_of(relay), "spool")
    [damaged] = [row for row in rows if row["about"].endswith("corrupt")]
    assert damaged["level"] == "warn" and "1 files of damaged mail" in damaged["text"]
    if os.geteuid() == 0:
        os.chown(relay.folder / "var" / "spool" / "lock", 65534, -1)
        [row] = [row for row in of(rows_of(relay), "spool") if row["level"] == "fail"]
        assert row["text"].startswith("lock belongs to nobody, the folder to root")
        assert row["remedy"] == f"chown -R root: {relay.folder}/var/spool"


def test_a_test_mail_goes_through_the_relay(relay, hop):
    relay.set_hop(hop.port).start()
    taken, ended = of(rows_of(relay, "--send-to", "eve@example.org", status=0), "mail")
    assert "queued as " in taken["text"]
    assert ended["text"].startswith("relayed by 127.0.0.1") and "250" in ended["text"]
    assert hop.subjects == ["Test mail of tracker-relay doctor"]
    hop.refuse["gone"] = "550 5.1.1 no such user"
    rows = rows_of(relay, "--send-to", "gone@example.org", status=1)
    assert "refused by 127.0.0.1" in of(rows, "mail")[-1]["text"]
    assert "550 5.1.1 no such user" in of(rows, "mail")[-1]["text"]
    assert "RCPT TO:<gone@example.org> is refused" in of(rows, "sender")[0]["text"]
    assert relay.run("doctor", "--send-to", "a b@").returncode == 64


def test_a_test_mail_without_a_relay(relay, hop):
    relay.set_hop(hop.port)
    [row] = of(rows_of(relay, "--send-to", "eve@example.org", status=1), "mail")
    assert "the relay did not take it" in row["text"] and row["remedy"].endswith(" run")
    assert hop.subjects == []


@ROOT_ONLY
def test_as_the_web_servers_user(relay, hop):
    relay.set_hop(hop.port).start()
    tcp, unix = of(rows_of(relay, "--as", "nobody", status=1), "user")
    assert tcp["about"] == f"nobody (uid 65534) at 127.0.0.1:{relay.port}"
    assert tcp["text"] == "connected: 220 relay.example.com ESMTP"
    # The tests' folder is closed to others.
    assert unix["text"].startswith("Permission denied (EACCES): a folder above the socket")
    assert unix["remedy"].startswith("namei -l /")
    relay.stop()
    tcp, _ = of(rows_of(relay, "--as", "nobody", status=1), "user")
    assert tcp["text"] == "Connection refused: nothing listens there, and nothing forbids it"


def test_as_nobody_that_there_is(relay, hop):
    relay.set_hop(hop.port)
    [row] = of(rows_of(relay, "--as", "no-such-user", status=1), "user")
    assert row["text"] == "this host has no such user"


@ROOT_ONLY
def test_who_is_not_root_can_not_become_another(tmp_path):
    from relay.doctor import other_user

    script = (
        "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "from relay.doctor import other_user\n"
        "print(other_user.attempt('root', []))"
    )
    script = "from relay.doctor import other_user\n" + script
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=ROOT, timeout=30)
    assert b"only root can become root (uid 0)" in ended.stdout, ended
    assert b"sudo tracker-relay doctor --as root" in ended.stdout
    assert other_user.attempt("", []).trouble


def test_a_policy_is_told_from_a_server_that_is_down():
    import errno

    from relay.admission import Listen
    from relay.doctor.knocking import Answer
    from relay.doctor.other_user import Tried, findings

    door = Listen("127.0.0.1", 2525)
    for number, words in ((errno.EACCES, "a policy of this host forbids it"), (errno.ECONNREFUSED, "nothing forbids")):
        answer = Answer(error=number, text=os.strerror(number))
        [row] = findings(Tried("www-data", 33, ((door, answer),)), "systemctl start tracker-relay")
        assert row.level == "fail" and words in row.text
        assert row.about == "www-data (uid 33) at 127.0.0.1:2525"


def test_a_next_hop_that_was_paused(relay, hop):
    relay.set_hop(hop.port).start()
    relay.command("upstream", "pause", "notification")
    [row] = [row for row in of(rows_of(relay, status=0), "daemon") if row["level"] == "warn"]
    assert row["about"] == "notification" and row["text"].startswith("paused by ")
    assert row["remedy"] == "tracker-relay upstream resume notification"


def test_a_fault_of_one_check_leaves_the_others(relay, hop, monkeypatch, capsys):
    from relay import cli
    from relay.doctor import own

    relay.set_hop(hop.port)
    monkeypatch.setattr(own, "waiting", lambda _: 1 / 0)
    monkeypatch.setattr(own, "_room", lambda *_: 1 / 0)
    (relay.folder / "var" / "spool").mkdir(parents=True)
    assert cli.main(["--config", str(relay.folder / "config.ini"), "doctor", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    [broken] = of(rows, "doctor")
    assert broken["about"] == "spool" and "ZeroDivisionError" in broken["text"]
    assert of(rows, "sender")


def test_a_listener_that_speaks_tls_at_once(tls, monkeypatch):
    import socket
    import threading

    from relay.admission import Listen
    from relay.doctor import knocking

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(knocking, "IMPLICIT_PORT", port)

        def greet():
            with tls().wrap_socket(server.accept()[0], server_side=True) as connection:
                connection.sendall(b"220 relay.example.com ESMTP\r\n")
                connection.recv(100)

        threading.Thread(target=greet, daemon=True).start()
        answer = knocking.knock(Listen("127.0.0.1", port), has_certificate=True)
    assert answer.name == "relay.example.com"
