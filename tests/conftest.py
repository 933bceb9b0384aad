"""The long form of the tests that can go on for hours: `./test soak`."""

import pytest
from hypothesis import settings

# A machine that is busy with something else is no reason for a property to fail.
settings.register_profile("relay", deadline=None)
settings.load_profile("relay")


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="the long form: every call killed, 200 kills, 50 cuts, ...")
    parser.addoption("--minutes", type=float, default=0, help="./test fuzz: so long in all, instead of the short form")
    parser.addoption(
        "--keep-inputs", action="store_true", help="./test fuzz: inputs that reach something new join the corpus"
    )
    parser.addoption("--mails", type=int, default=0, help="mails through the daemon in the soak test")
    parser.addoption("--leak", type=int, default=0, help="octets a mail that the daemon of the soak test shall leak")


@pytest.fixture
def soak(request):
    """True for the long form."""
    return bool(request.config.getoption("--soak"))
