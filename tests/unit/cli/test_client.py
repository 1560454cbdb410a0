"""The API of a relay that does not run, called in this process; and what a running one refuses."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from relay.api.app import create_app
from relay.api.callers import CONTROL
from relay.app.plan import CannotStart
from relay.cli.asking import refusal
from relay.cli.client import Remote
from relay.cli.local import Local
from relay.cli.options import Failure
from relay.config.load import load
from relay.model import State
from tests.desk import FakeDesk, FakeExplain, message
from tests.parts import parts


@pytest.fixture
def offline(folder):
    desk = FakeDesk([message("0a"), message("0b", State.HELD)])
    app = create_app(parts(desk=desk, explain=FakeExplain({"default:7": "no relay runs"})))
    opened: list[str] = []

    async def trusted(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "caller": CONTROL}, receive, send)

    @asynccontextmanager
    async def open_api(loaded) -> AsyncIterator[ASGIApp]:
        opened.append("open")
        yield trusted
        opened.append("closed")

    queue = Local(load(folder / "relay.yaml", {}), open_api)
    yield queue, desk, opened
    queue.close()


def test_it_gives_what_a_running_relay_gives(offline):
    queue, _, _ = offline
    page = queue.list({"state": ["queued"]}, limit=10, after="")
    assert (page["has_more"], page["data"][0]["id"]) == (False, "0a")
    assert page["data"][0]["recipients"][0]["reason"] == "no relay runs"
    assert queue.show("0b")["timeline"][1]["kind"] == "attempt"
    assert queue.stats()["states"] == {"queued": 1, "held": 1}


def test_it_acts_and_knows_the_providers(offline):
    queue, desk, _ = offline
    assert queue.act("release", {"id": "0b"}, provider="", dry_run=False)["changed"] == ["0b"]
    assert desk.messages["0b"].state is State.QUEUED
    assert queue.act("reroute", {"id": "0a"}, provider="backup", dry_run=True)["changed"] == ["0a"]
    with pytest.raises(Failure, match="one of: backup, primary") as refused:
        queue.act("reroute", {"id": "0a"}, provider="nobody", dry_run=True)
    assert refused.value.code == 2


def test_the_lock_is_taken_once_and_let_go_at_the_end_also_after_a_refusal(offline):
    queue, _, opened = offline
    assert opened == []
    queue.stats()
    with pytest.raises(Failure, match="there is no message '0 z'"):
        queue.show("0 z")
    assert opened == ["open"]
    queue.close()
    assert opened == ["open", "closed"]


def test_a_spool_that_cannot_be_had_is_a_sentence(folder):
    @asynccontextmanager
    async def open_api(loaded) -> AsyncIterator[ASGIApp]:
        raise CannotStart("another relay has it: stop that")
        yield

    local = Local(load(folder / "relay.yaml", {}), open_api)
    with pytest.raises(Failure, match="another relay has it"):
        local.stats()
    local.close()


@pytest.mark.parametrize(("status", "code"), [(400, 2), (403, 1), (404, 1), (409, 1), (422, 2), (500, 1)])
def test_what_the_relay_could_not_read_is_wrong_usage(status, code):
    failure = refusal(status, {"detail": "no", "errors": [{"loc": ["query", "older"], "msg": "a duration"}]})
    assert (failure.code, str(failure)) == (code, "no: older: a duration")


def test_an_answer_without_a_problem_document_still_is_a_sentence():
    assert str(refusal(502, {})) == "the relay answered 502"


def test_a_refusal_is_heard_though_no_more_was_read():
    near, far = socket.socketpair()
    with near, far:
        far.sendall(b'HTTP/1.1 413 Content Too Large\r\nContent-Length: 29\r\n\r\n{"detail": "it is too large"}')
        far.shutdown(socket.SHUT_RDWR)
        connection = HTTPConnection("localhost")
        connection.sock = near
        with pytest.raises(Failure, match="it is too large"):
            Remote(connection, "here").ask("/v1/messages", {"text": "x" * 100_000})
