"""/v1/messages over the control socket."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from relay.model import State
from tests.desk import NOW, message
from tests.web import request

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_list_shows_what_has_not_ended_oldest_first(api):
    answer = await request(api.control, "/v1/messages")
    assert answer.status == 200
    assert [m["id"] for m in answer.json["data"]] == ["0a", "0b", "0c", "0d"]
    assert answer.json["has_more"] is False


async def test_paging_by_cursor(api):
    first = (await request(api.control, "/v1/messages?limit=3")).json
    rest = (await request(api.control, f"/v1/messages?limit=3&after={first['data'][-1]['id']}")).json
    assert ([m["id"] for m in first["data"]], first["has_more"]) == (["0a", "0b", "0c"], True)
    assert ([m["id"] for m in rest["data"]], rest["has_more"]) == (["0d"], False)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("id=0b", ["0b"]),
        ("id=0B", ["0b"]),
        ("from=ALICE@*", ["0a", "0b", "0d"]),
        ("to=*@c.example", ["0c"]),
        ("provider=primary", ["0b"]),
        ("state=held&state=captured", ["0c", "0d"]),
        ("state=accepted", ["0e"]),
        ("older=1h", ["0d"]),
        ("ended=true", ["0a", "0b", "0c", "0d", "0e"]),
    ],
)
async def test_filters(api, query, ids):
    answer = await request(api.control, f"/v1/messages?{query}")
    assert [m["id"] for m in answer.json["data"]] == ids


async def test_everybody_who_waits_says_why(api):
    data = {m["id"]: m for m in (await request(api.control, "/v1/messages")).json["data"]}
    assert data["0a"]["recipients"][0]["reason"] == "primary: circuit open"
    assert data["0b"]["recipients"][0]["reason"] == "451 4.3.0 busy; and primary: circuit open"
    assert data["0c"]["reason"].startswith("held")
    assert data["0d"]["reason"].startswith("captured")
    api.explain.stuck.clear()
    assert (await request(api.control, "/v1/messages/0a")).json["reason"] == "waits for its turn"


@pytest.mark.parametrize(
    ("own", "due", "shown"),
    [
        ("primary: 450 greylisted", NOW - 1, "primary: suspended: 535 no; repair it"),
        ("primary: 450 greylisted", NOW + 9, "primary: 450 greylisted; and primary: suspended: 535 no; repair it"),
        ("primary: suspended: 535 no", NOW + 9, "primary: suspended: 535 no; repair it"),
    ],
)
async def test_an_old_reason_does_not_hide_the_one_that_keeps_it_now(api, own, due, shown):
    api.explain.stuck = {"default:7": "primary: suspended: 535 no; repair it"}
    api.desk.messages["0b"] = message("0b", State.DEFERRED, reason=own, due_at=due)
    assert (await request(api.control, "/v1/messages/0b")).json["reason"] == shown


async def test_each_recipient_says_what_keeps_its_own_lane(api):
    here, there = message("0a", State.DEFERRED, due_at=NOW), message("0a", State.DEFERRED, lane="other:7", due_at=NOW)
    api.desk.messages["0a"] = replace(here, recipients=(*here.recipients, *there.recipients))
    api.explain.stuck = {"default:7": "primary: circuit open", "other:7": "backup: not active"}
    shown = (await request(api.control, "/v1/messages/0a")).json
    assert [r["reason"] for r in shown["recipients"]] == ["primary: circuit open", "backup: not active"]


async def test_held_mail_says_why_and_how_it_goes_on(api):
    api.desk.messages["0c"] = message("0c", State.HELD, reason="held by an operator")
    shown = (await request(api.control, "/v1/messages/0c")).json
    assert shown["reason"] == "held by an operator; release, retry, reroute or cancel it"


async def test_a_message_with_its_timeline(api):
    shown = (await request(api.control, "/v1/messages/0b")).json
    assert shown["from"] == "alice@a.example"
    assert shown["received_at"] == "2026-11-18T11:05:40.000Z"
    assert shown["recipients"] == [
        {
            "address": "bob@b.example",
            "state": "deferred",
            "reason": "451 4.3.0 busy; and primary: circuit open",
            "provider": "primary",
            "tries": 1,
            "due_at": "2026-11-18T11:07:10.000Z",
        }
    ]
    assert [event["detail"] for event in shown["timeline"]] == [
        "from internal, 4096 bytes, queued in default:7",
        "451 4.3.0 busy",
    ]


async def test_an_ended_message_is_shown_and_is_due_never(api):
    shown = (await request(api.control, "/v1/messages/0e")).json
    assert (shown["state"], shown["ended_at"]) == ("accepted", "2026-11-18T11:06:35.000Z")
    assert shown["recipients"][0]["due_at"] is None


@pytest.mark.parametrize(
    ("id", "action", "state"),
    [("0a", "retry", "queued"), ("0a", "hold", "held"), ("0c", "release", "queued"), ("0a", "cancel", "cancelled")],
)
async def test_acting_on_one(api, id, action, state):
    answer = await request(api.control, f"/v1/messages/{id}/{action}", method="POST")
    assert (answer.status, answer.json) == (200, {"id": id, "action": action, "dry_run": False})
    assert api.desk.messages[id].state == State(state)


async def test_reroute_needs_a_provider_that_exists(api):
    assert (await request(api.control, "/v1/messages/0a/reroute", {"provider": "backup"})).status == 200
    assert api.desk.acts[-1][2] == "backup"
    unknown = await request(api.control, "/v1/messages/0a/reroute", {"provider": "nobody"})
    assert unknown.status == 422
    assert unknown.json["errors"] == [{"loc": ["provider"], "msg": "one of: backup, primary"}]
    assert (await request(api.control, "/v1/messages/0a/reroute", method="POST")).status == 422
    assert (await request(api.control, "/v1/messages/0a/hold", {"provider": "backup"})).status == 422


async def test_what_cannot_be_done_says_why(api):
    unknown = await request(api.control, "/v1/messages/0z/hold", method="POST")
    assert (unknown.status, unknown.headers["content-type"]) == (404, "application/problem+json")
    assert "'0z'" in unknown.json["detail"]
    conflict = await request(api.control, "/v1/messages/0a/release", method="POST")
    assert (conflict.status, conflict.json["title"]) == (409, "Conflict")
    assert conflict.json["detail"] == "release does not apply to message 0a: it is not held"
    ended = await request(api.control, "/v1/messages/0e/cancel", method="POST")
    assert (ended.status, ended.json["detail"]) == (409, "cancel does not apply to message 0e: it is accepted")


async def test_bulk_with_a_dry_run_first(api):
    order = {"action": "hold", "filter": {"from": "alice@*", "state": ["queued", "deferred"]}, "dry_run": True}
    dry = (await request(api.control, "/v1/queue/actions", order)).json
    assert dry == {"action": "hold", "dry_run": True, "changed": ["0a", "0b"], "skipped": {}}
    assert api.desk.messages["0a"].state is State.QUEUED
    done = (await request(api.control, "/v1/queue/actions", order | {"dry_run": False})).json
    assert done["changed"] == ["0a", "0b"]
    assert api.desk.messages["0a"].state is State.HELD


async def test_bulk_must_name_a_filter_and_says_what_was_skipped(api):
    assert (await request(api.control, "/v1/queue/actions", {"action": "hold"})).status == 422
    everything = (await request(api.control, "/v1/queue/actions", {"action": "release", "filter": {}})).json
    assert everything["changed"] == ["0c", "0d"]
    assert everything["skipped"]["0a"] == "it is not held"


async def test_stats(api):
    stats = (await request(api.control, "/v1/queue/stats")).json
    assert stats["states"] == {"queued": 1, "deferred": 1, "held": 1, "captured": 1, "accepted": 1}
    assert (stats["oldest_age"], stats["free_bytes"], stats["healthy"]) == (60.0, 10**8, True)


async def test_explain(api):
    answer = await request(api.control, "/v1/explain?from=a@x&to=b@y&size=100&client=10.0.0.1")
    assert (answer.json["from"], answer.json["rule"], answer.json["size"]) == ("a@x", "default", 100)
    missing = await request(api.control, "/v1/explain?from=a@x")
    assert missing.json["errors"][0]["loc"] == ["query", "to"]


async def test_explain_knows_what_a_client_is(api):
    answer = await request(api.control, "/v1/explain?from=a@x&to=b@y&client=nonsense")
    assert (answer.status, answer.json["errors"][0]["msg"]) == (422, "must be an IP address, or unix")
