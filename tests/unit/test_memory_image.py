"""No core file, also where a policy keeps the daemon from lowering its hard limit."""

import resource

import pytest

from relay import runner


@pytest.fixture
def limit(monkeypatch):
    """The limit of core files, as it stands, under a kernel with or without SELinux in the way."""
    held = {"now": (7, 9), "selinux": False}

    def setrlimit(which, wanted):
        assert which == resource.RLIMIT_CORE
        if held["selinux"] and wanted[1] != held["now"][1]:
            raise PermissionError(13, "Permission denied")
        held["now"] = wanted

    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    monkeypatch.setattr(resource, "getrlimit", lambda which: held["now"])
    return held


def test_both_limits_are_none(limit):
    runner.no_memory_image()
    assert limit["now"] == (0, 0)


def test_where_selinux_guards_the_hard_limit_the_soft_one_is_none(limit):
    limit["selinux"] = True
    runner.no_memory_image()
    assert limit["now"] == (0, 9)
