"""The spool itself, when no relay runs, through the same operations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from relay.cli.client import Offline, refusal
from relay.cli.options import Failure
from relay.config.load import load
from relay.model import State
from tests.desk import FakeDesk, FakeExplain, message


@pytest.fixture
def offline(folder):
    desk = FakeDesk([message("0a"), message("0b", State.HELD)])
    opened: list[str] = []

    @asynccontextmanager
    async def open_desk(config) -> AsyncIterator[tuple[FakeDesk, FakeExplain]]:
        opened.append("open")
        yield desk, FakeExplain({"default:7": "no relay runs"})
        opened.append("closed")

    queue = Offline(load(folder / "relay.yaml", {}).config, open_desk)
    return queue, desk, opened


def test_it_gives_what_a_running_relay_gives(offline):
    queue, _, _ = offline
    page = queue.list({"state": ["queued"]}, limit=10, after="")
    assert (page["has_more"], page["data"][0]["id"]) == (False, "0a")
    assert page["data"][0]["recipients"][0]["reason"] == "no relay runs"
    assert queue.show("0b")["timeline"][1]["kind"] == "attempt"
    assert queue.stats()["states"] == {"queued": 1, "held": 1}


def test_it_acts_and_knows_the_providers_of_the_configuration(offline):
    queue, desk, _ = offline
    assert queue.act("release", {"id": "0b"}, provider="", dry_run=False)["changed"] == ["0b"]
    assert desk.messages["0b"].state is State.QUEUED
    assert queue.act("reroute", {"id": "0a"}, provider="backup", dry_run=True)["changed"] == ["0a"]
    with pytest.raises(Failure, match="one of: backup, primary") as refused:
        queue.act("reroute", {"id": "0a"}, provider="nobody", dry_run=True)
    assert refused.value.code == 2


def test_the_lock_is_let_go_after_each_operation_and_after_a_refusal(offline):
    queue, _, opened = offline
    queue.stats()
    assert opened == ["open", "closed"]
    with pytest.raises(Failure, match="there is no message '0z'"):
        queue.show("0z")


@pytest.mark.parametrize(("status", "code"), [(400, 2), (403, 1), (404, 1), (409, 1), (422, 2), (500, 1)])
def test_what_the_relay_could_not_read_is_wrong_usage(status, code):
    failure = refusal(status, {"detail": "no", "errors": [{"loc": ["query", "older"], "msg": "a duration"}]})
    assert (failure.code, str(failure)) == (code, "no: older: a duration")


def test_an_answer_without_a_problem_document_still_is_a_sentence():
    assert str(refusal(502, {})) == "the relay answered 502"
