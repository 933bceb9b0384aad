"""People: the tables of a configuration's users, and that each lookup means what a walk over all of them meant."""

import pytest

from relay import people
from relay.address import parse
from relay.people import User, Users
from tests.gateway import Gateway, harbour


def test_the_first_of_two_is_found_where_only_one_can_be():
    users = Users((User("dana", address=parse("one@example.org")), User("dana", address=parse("two@example.org"))))
    assert str(users.stored["dana"]) == "one@example.org"
    assert len(users.by_login["dana"]) == 2


def test_tables_are_made_once(monkeypatch):
    users = Users([User("dana@realm.example", "Dana", parse("d@example.org"), mute=True)])
    assert Users.of(users) is users
    assert Users.of([*users]) == users
    assert users.stored_by_mailbox is users.stored_by_mailbox
    assert users.muted == tuple(users)
    assert users.by_local_part.keys() == {"dana", "d"}


@pytest.mark.parametrize(
    ("login", "written"),
    [
        ("dana@bücher.example", "dana@xn--bcher-kva.example"),
        ("dana@xn--bcher-kva.example", "dana@BÜCHER.example"),
        ('"dana"@realm.example', "dana@REALM.example"),
        ("dana@Realm.Example", '"dana"@realm.example'),
    ],
)
def test_a_login_at_an_ignored_realm_is_a_mailbox_however_it_is_written(login, written):
    """Domains by their A-labels and without case, local parts with or without needless quotes."""
    gateway = Gateway(ignore_domains="realm.example bücher.example", users={login: "dana@example.org"})
    [(_, mail)] = gateway.prepare(harbour(), [written]).routed
    assert [str(r.address) for r in mail.envelope.recipients] == ["dana@example.org"]


def test_a_cut_name_is_looked_for_in_logins_and_addresses():
    users = Users([people.user("luc@realm.example", "l.sato@example.org"), people.user("x", "luc@example.org")])
    assert [user.login for user in people._fitting("luc@…", users)] == ["luc@realm.example", "x"]
    assert people._fitting("luc", users) == []
