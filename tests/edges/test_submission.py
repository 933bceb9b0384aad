"""The socket of the sendmail drop-in: where it is, who may use it, and what is known of him."""

import os
import stat
from dataclasses import replace

import pytest

from relay import admission
from relay.admission import Listen, LocalUsers, local_users
from relay.errors import ConfigError
from relay.listening import Listener

MAIL = b"Subject: x\r\n\r\nhello\r\n.\r\n"
ME = LocalUsers(uids=frozenset((os.geteuid(),)))


async def delivered(stage, path):
    async with stage.client(at=Listen(path=str(path))) as client:
        return await client.mail(MAIL)


async def opened(stage, default=""):
    stage.listener = Listener(stage.setting(), str(default))
    await stage.listener.start()
    return stage.listener


def test_mail_over_it_is_known_as_the_drop_ins(stage, run, tmp_path):
    async def story():
        path = tmp_path / "var" / "submission.sock"
        listener = await opened(stage, path)
        try:
            assert listener.addresses[-1] == Listen(path=str(path))
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
            assert (await delivered(stage, path)).startswith("250 2.0.0 queued as ")
            [(entry, _)] = await stage.spool.mails()
            assert (entry.client.listener, entry.client.address) == ("sendmail", "unix")
            assert entry.client.uid == os.geteuid()
        finally:
            await listener.stop(1)
        assert not path.exists()

    run(story)


@pytest.mark.parametrize("listed", [True, False])
def test_a_configured_socket_is_the_drop_ins_whether_listen_names_it_or_not(stage, run, tmp_path, listed):
    async def story():
        path, other = tmp_path / "s.sock", tmp_path / "other.sock"
        listen = (Listen(path=str(other)), *((Listen(path=str(path)),) if listed else ()))
        stage.options = replace(stage.options, listen=listen, submission=str(path))
        listener = await opened(stage, tmp_path / "default.sock")
        try:
            assert {a.path for a in listener.addresses} == {str(path), str(other)}
            await delivered(stage, path)
            await delivered(stage, other)
            clients = [entry.client.listener for entry, _ in await stage.spool.mails()]
            assert clients == ["sendmail", f"unix:{other}"]
        finally:
            await listener.stop(1)

    run(story)


def test_listen_alone_may_name_the_default_socket(stage, run, tmp_path):
    async def story():
        path = tmp_path / "submission.sock"
        stage.options = replace(stage.options, listen=(Listen(path=str(path)),))
        listener = await opened(stage, path)
        try:
            assert listener.addresses == [Listen(path=str(path))]
            await delivered(stage, path)
            [(entry, _)] = await stage.spool.mails()
            assert entry.client.listener == "sendmail"
        finally:
            await listener.stop(1)

    run(story)


def test_an_empty_option_is_no_socket(stage, run, tmp_path):
    async def story():
        stage.options = replace(stage.options, submission="")
        listener = await opened(stage, tmp_path / "default.sock")
        await listener.stop(1)
        assert [a.path for a in listener.addresses] == [""]
        assert not (tmp_path / "default.sock").exists()

    run(story)


def test_however_deep_its_folder_lies(stage, run, tmp_path):
    async def story():
        folder = tmp_path / ("d" * 120)
        listener = await opened(stage, folder / "submission.sock")
        try:
            assert stat.S_ISSOCK((folder / "submission.sock").stat().st_mode)
        finally:
            await listener.stop(1)

    run(story)


def test_what_keeps_the_default_from_being_is_said_and_the_rest_goes_on(stage, run, tmp_path, caplog):
    async def story():
        (tmp_path / "file").write_text("")
        listener = await opened(stage, tmp_path / "file" / "submission.sock")
        try:
            async with stage.client() as client:
                assert (await client.mail(MAIL)).startswith("250 ")
        finally:
            await listener.stop(1)

    run(story)
    assert "no socket for the sendmail drop-in: unix:" in caplog.text


def test_a_configured_one_that_can_not_be_had_refuses_the_start(stage, run, tmp_path):
    async def story():
        stage.options = replace(stage.options, submission=str(tmp_path / "missing" / "s.sock"))
        with pytest.raises(ConfigError, match=r"\[listener\] submission: unix:.*No such file"):
            await opened(stage)
        assert stage.listener.addresses[0].host

    run(story)


@pytest.mark.parametrize(
    ("allowed", "reply"),
    [
        (None, "220 "),
        (ME, "220 "),
        (LocalUsers(groups=frozenset((os.getegid(),))), "220 "),
        (LocalUsers(uids=frozenset((12345,)), groups=frozenset((54321,))), "554 5.7.1 this user may not send here"),
    ],
    ids=["everybody", "by user", "by group", "not listed"],
)
def test_allow_uids(stage, run, tmp_path, allowed, reply):
    async def story():
        stage.options = replace(stage.options, allow_uids=allowed)
        path = tmp_path / "s.sock"
        listener = await opened(stage, path)
        try:
            async with stage.client(None, at=Listen(path=str(path))) as client:
                assert (await client.reply()).startswith(reply)
            async with stage.client(None) as client:  # says nothing of TCP clients
                assert (await client.reply()).startswith("220 ")
        finally:
            await listener.stop(1)

    run(story)


def test_allow_uids_of_a_further_group():
    options = replace(admission.ListenerOptions(), allow_uids=LocalUsers(groups=frozenset((8,))))
    assert admission.user_allowed(33, frozenset((33, 8)), options) is None
    assert admission.user_allowed(33, frozenset((33,)), options).code == 554


def test_how_allow_uids_is_written():
    assert local_users("") is None
    assert local_users("root, 33 @root @8") == LocalUsers(frozenset((0, 33)), frozenset((0, 8)))
    for wrong, said in (("no-such-user", "no such user"), ("@no-such-group", "no such group"), ("-1", "no such user")):
        with pytest.raises(ValueError, match=f"'{wrong}': this host has {said}"):
            local_users(wrong)
