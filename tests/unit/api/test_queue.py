"""Who may look at the queue and act on it, what is refused, and what the audit log hears of it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from relay.api.app import create_app
from relay.api.callers import Caller
from relay.events import Changed, Event
from relay.model import Labels, Scope, State
from tests.asgi import Client
from tests.desk import NOW, FakeDesk, FakeExplain, message
from tests.parts import parts

ALICE = Caller(name="alice", key="user alice", scopes=frozenset({Scope.QUEUE}))


@dataclass
class Queue:
    """Asked by `ask`; what stands behind it, and what was told."""

    ask: Client
    desk: FakeDesk
    explain: FakeExplain
    told: list[Event]


@pytest.fixture(scope="module")
def served() -> Queue:
    told: list[Event] = []
    desk, explain = FakeDesk(), FakeExplain()
    app = create_app(parts(desk=desk, explain=explain, observe=told.append))
    return Queue(Client(app), desk, explain, told)


@pytest.fixture
def queue(served: Queue) -> Queue:
    """As if freshly started, asked by somebody who may look at the queue."""
    labels = Labels(tags=("Invoice", "eu"), metadata={"order": "17"})
    views = (
        message("0a", State.QUEUED, labels=labels),
        message("0b", State.DEFERRED, reason="451 4.3.0 busy", provider="primary"),
        message("0c", State.HELD, address="carol@c.example"),
        message("0d", State.SCHEDULED, due_at=NOW + 86400),
    )
    served.desk.messages = {view.id: view for view in views}
    served.desk.acts.clear()
    served.explain.stuck = {}
    served.told.clear()
    served.ask.who = ALICE
    return served


ROUTES = [
    ("GET", "/v1/messages", None),
    ("GET", "/v1/messages/0a", None),
    ("POST", "/v1/messages/0a/retry", None),
    ("POST", "/v1/queue/actions", {"action": "retry", "filter": {}}),
    ("GET", "/v1/queue/stats", None),
    ("GET", "/v1/explain?from=a@x&to=b@y", None),
]


@pytest.mark.parametrize(("method", "target", "body"), ROUTES)
@pytest.mark.parametrize("scope", Scope)
async def test_H5_the_queue_is_for_those_who_may(queue, method, target, body, scope):
    queue.ask.who = Caller(name="shop", key="token 1", scopes=frozenset({scope}))
    answer = await queue.ask(method, target, body)
    if scope in (Scope.QUEUE, Scope.ADMIN):
        assert answer.status == 200
    else:
        assert answer.status == 403
        assert "scope queue" in answer.json["detail"] and "shop" in answer.json["detail"]
        assert queue.desk.acts == [] and queue.told == []


@pytest.mark.parametrize("action", ["retry", "hold", "cancel", "reroute"])
async def test_a_dry_run_on_one_changes_and_tells_nothing(queue, action):
    body = {"provider": "backup"} if action == "reroute" else None
    answer = await queue.ask("POST", f"/v1/messages/0a/{action}?dry_run=true", body)
    assert (answer.status, answer.json) == (200, {"id": "0a", "action": action, "dry_run": True})
    assert queue.desk.acts[-1][3] is True
    assert queue.desk.messages["0a"].state is State.QUEUED and queue.told == []


async def test_a_dry_run_says_what_the_act_would_say(queue):
    assert (await queue.ask("POST", "/v1/messages/0a/release?dry_run=true")).status == 409
    assert (await queue.ask("POST", "/v1/messages/0z/hold?dry_run=true")).status == 404
    assert (await queue.ask("POST", "/v1/messages/0a/hold?dry_run=maybe")).status == 422


async def test_who_did_what_is_told(queue):
    await queue.ask("POST", "/v1/messages/0A/hold")
    await queue.ask("POST", "/v1/queue/actions", {"action": "cancel", "filter": {"to": "bob@*"}})
    assert queue.told == [
        Changed(who="alice", what="queue hold", target="0a"),
        Changed(who="alice", what="queue cancel", target="0a 0b 0d"),
    ]


async def test_what_changed_nothing_is_not_told(queue):
    await queue.ask("POST", "/v1/messages/0a/release")
    await queue.ask("POST", "/v1/queue/actions", {"action": "cancel", "filter": {"to": "nobody@*"}})
    await queue.ask("POST", "/v1/queue/actions", {"action": "cancel", "filter": {}, "dry_run": True})
    assert queue.told == []


async def test_what_is_told_of_much_is_short_and_names_no_address(queue):
    queue.desk.messages = {f"{n:013d}": message(f"{n:013d}") for n in range(5000)}
    await queue.ask("POST", "/v1/queue/actions", {"action": "hold", "filter": {"to": "bob@b.example"}})
    (told,) = queue.told
    assert told.target.endswith("0000000000009 and 4990 more")
    assert len(told.target) < 200 and "@" not in told.target


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("tag=Invoice", ["0a"]),
        ("tag=invoice", []),
        ("search=INVO", ["0a"]),
        ("search=carol", ["0c"]),
        ("search=%25", []),
    ],
)
async def test_filters_by_tag_and_search(queue, query, ids):
    assert [m["id"] for m in (await queue.ask("GET", f"/v1/messages?{query}")).json["data"]] == ids


async def test_an_act_on_what_is_found(queue):
    order = {"action": "hold", "filter": {"tag": "eu", "search": "alice@"}}
    assert (await queue.ask("POST", "/v1/queue/actions", order)).json["changed"] == ["0a"]


async def test_labels_are_shown_in_lists_and_alone(queue):
    listed = (await queue.ask("GET", "/v1/messages")).json["data"]
    alone = (await queue.ask("GET", "/v1/messages/0a")).json
    assert [(m["tags"], m["metadata"]) for m in (listed[0], alone)] == [(["Invoice", "eu"], {"order": "17"})] * 2
    assert (listed[1]["tags"], listed[1]["metadata"]) == ([], {})


async def test_mail_for_later_says_when_it_goes(queue):
    queue.explain.stuck = {"default:7": "primary: circuit open"}
    shown = (await queue.ask("GET", "/v1/messages/0d")).json
    assert shown["reason"] == "scheduled: it goes at 2026-11-19T11:06:40.000Z"
    assert shown["recipients"][0]["due_at"] == "2026-11-19T11:06:40.000Z"
    queue.desk.messages["0d"] = message("0d", State.SCHEDULED, due_at=NOW)
    assert (await queue.ask("GET", "/v1/messages/0d")).json["reason"] == "primary: circuit open"


LONG = "x" * 600


@pytest.mark.parametrize("name", ["id", "from", "to", "provider", "tag", "search", "older", "after"])
@pytest.mark.parametrize("value", ["a%0d%0ab", "a%00b", "a%1bb", LONG])
async def test_H1_a_filter_that_is_no_line_of_text_is_refused_with_its_place(queue, name, value):
    answer = await queue.ask("GET", f"/v1/messages?{name}={value}")
    assert answer.status == 422
    assert [error["loc"][-1] for error in answer.json["errors"]] == [name]


@pytest.mark.parametrize("name", ["id", "from", "to", "provider", "tag", "search", "older"])
@pytest.mark.parametrize("value", ["a\r\nb", "\0", "\ud800", LONG, 7, ["x"]])
async def test_H1_so_is_one_in_a_body(queue, name, value):
    answer = await queue.ask("POST", "/v1/queue/actions", {"action": "hold", "filter": {name: value}})
    assert answer.status == 422
    assert [error["loc"][-1] for error in answer.json["errors"]] == [name]
    assert queue.desk.acts == []


@pytest.mark.parametrize(
    ("target", "body", "place"),
    [
        ("/v1/messages/0a/reroute", {"provider": "a\nb"}, "provider"),
        ("/v1/messages/0a/reroute", {"provider": LONG}, "provider"),
        ("/v1/messages/0a/reroute", {"to": "backup"}, "to"),
        ("/v1/messages/0a/explode", None, "action"),
        (f"/v1/messages/{LONG}/hold", None, "id"),
        ("/v1/queue/actions", {"action": "hold", "filter": {"subject": "x"}}, "subject"),
        ("/v1/queue/actions", {"action": "hold", "filter": {"state": ["lost"]}}, 0),
    ],
)
async def test_what_cannot_be_meant_is_refused_with_its_place(queue, target, body, place):
    answer = await queue.ask("POST", target, body)
    assert answer.status == 422
    assert answer.json["errors"][0]["loc"][-1] == place
    assert queue.desk.acts == []


@pytest.mark.parametrize("query", ["from=a%00&to=b", "from=a&to=b%0a", f"from={LONG}&to=b", "from=a&to=b&size=1e99"])
async def test_H1_a_question_that_cannot_be_read(queue, query):
    assert (await queue.ask("GET", f"/v1/explain?{query}")).status == 422


async def test_an_id_that_is_none_is_not_there(queue):
    for id in ("0%00", "nonsense", "%0d%0a"):
        answer = await queue.ask("GET", f"/v1/messages/{id}")
        assert answer.status == 404
    assert (await queue.ask("GET", f"/v1/messages/{LONG}")).status == 422
