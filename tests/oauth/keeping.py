"""Upstreams with tokens for the keeper's tests, and what is asked of it."""

import logging

import pytest

from relay.oauth.client import Grant
from relay.routing import Upstream
from tests.oauth.test_renewal import put

PERSON = Grant.AUTHORIZATION_CODE


@pytest.fixture
def hop(client):
    def make(grant=PERSON, name="notification", **more):
        return Upstream(name, "localhost", 587, "starttls", user="me@example.com", oauth=client(grant, **more))

    return make


@pytest.fixture
def signed_in(store, clock, token_server):
    """Tokens of a certain age whose refresh token is good."""

    def put_for(upstream, age=0.0, **more):
        token_server.refresh = "refresh-0"
        put(store, upstream.oauth, clock, age=age, **more)

    return put_for


def alarms(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]


async def access(keeper, upstream):
    return (await keeper.current(upstream)).reveal()
