"""What the acceptance examples need: a relay without I/O, and the mail that they speak of."""

import pytest

from relay.entry import Disposition
from tests.gateway import Gateway, harbour


@pytest.fixture
def gateway():
    return Gateway


@pytest.fixture
def mail():
    return harbour


@pytest.fixture
def dropped():
    def ask(prepared):
        return {o.origin: o.rule for o in prepared.settled if o.disposition is Disposition.DROPPED}

    return ask
