"""Doors, errors, limits: what strangers and mistakes get."""

from __future__ import annotations

import json

import pytest

from relay.api.parts import Readiness
from relay.api.serving.guards import MAX_BODY
from tests.web import exchange, request

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("target", ["/v1/messages", "/v1/queue/stats", "/v1/users", "/docs", "/openapi.json", "/x"])
async def test_H14_a_proxy_gets_health_and_metrics_only(api, target):
    answer = await request(api.port, target, Via="1.1 proxy")
    assert (answer.status, answer.headers["content-type"]) == (403, "application/problem+json")
    assert answer.json["instance"] == target
    assert "relay token create" in answer.json["detail"]


async def test_H14_a_page_that_found_a_way_here_changes_nothing(api):
    order = {"action": "cancel", "filter": {}}
    for forged in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"X-Forwarded-For": "127.0.0.1"}):
        assert (await request(api.port, "/v1/queue/actions", order, **forged)).status == 403
    simple = b"POST /v1/queue/actions HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 34\r\n"
    answer = await exchange(api.port, simple + b'Connection: close\r\n\r\n{"action":"cancel","filter":{}}   ')
    assert answer.status == 403
    assert api.desk.acts == []
    assert (await request(api.port, "/v1/queue/actions", order)).status == 200
    assert len(api.desk.acts) == 1


@pytest.mark.parametrize("door", ["port", "control"])
async def test_health_and_metrics_answer_on_both_doors(api, door):
    where = getattr(api, door)
    assert (await request(where, "/healthz")).json == {"status": "ok", "version": "0.1.0"}
    ready = await request(where, "/readyz")
    assert (ready.status, ready.json) == (200, {"status": "ok", "mode": "relay", "checks": {"spool": "ok"}})
    metrics = await request(where, "/metrics")
    assert (metrics.body, metrics.headers["content-type"]) == (
        b"relay_build_info 1\n",
        "text/plain; version=0.0.4; charset=utf-8",
    )


async def test_not_ready_is_503_and_names_the_check(api):
    api.readiness = Readiness(mode="capture", checks={"spool": "disk is full", "listeners": "ok"})
    answer = await request(api.port, "/readyz")
    assert (answer.status, answer.json["status"], answer.json["mode"]) == (503, "not ready", "capture")
    assert answer.json["checks"]["spool"] == "disk is full"


async def test_errors_are_problem_documents(api):
    unknown = await request(api.control, "/v1/nothing")
    assert unknown.status == 404
    assert set(unknown.json) == {"type", "title", "status", "detail", "instance"}
    method = await request(api.control, "/v1/messages/0a", method="DELETE")
    assert (method.status, method.json["title"], method.headers["allow"]) == (405, "Method Not Allowed", "GET")
    assert method.json["detail"] == "DELETE does nothing at this address; /docs lists what there is"
    broken = await exchange(
        api.control,
        b"POST /v1/queue/actions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1\r\n\r\n{",
    )
    assert (broken.status, broken.json["title"]) == (422, "Unprocessable Content")


@pytest.mark.parametrize(
    ("query", "field"),
    [("state=lost", "state"), ("older=soon", "older"), ("limit=0", "limit"), ("limit=5000", "limit"), ("foo=1", "foo")],
)
async def test_wrong_filters_are_422_with_the_field(api, query, field):
    answer = await request(api.control, f"/v1/messages?{query}")
    assert answer.status == 422
    assert field in answer.json["errors"][0]["loc"]


@pytest.mark.parametrize("bad", ["\r\nX: y", "\n", "\x00", "\ud800", "\u2028"])
async def test_H1_control_characters_in_a_field_are_422(api, bad):
    for field in ("id", "from", "to", "provider"):
        order = {"action": "hold", "filter": {field: f"a{bad}"}}
        answer = await request(api.control, "/v1/queue/actions", order)
        assert answer.status == 422
        assert bad not in answer.body.decode()
    assert api.desk.acts == []


async def test_H8_a_value_that_is_refused_is_not_repeated(api):
    order = {"action": "canary-7351", "filter": {"state": "canary-7351"}, "password": "canary-7351"}
    answer = await request(api.control, "/v1/queue/actions", order)
    assert answer.status == 422
    assert b"canary-7351" not in answer.body


async def test_H8_a_crash_shows_neither_traceback_nor_text(api):
    api.desk.broken = RuntimeError("canary-7351")
    answer = await request(api.control, "/v1/queue/stats")
    assert (answer.status, answer.headers["content-type"]) == (500, "application/problem+json")
    assert b"canary" not in answer.body
    assert b"Traceback" not in answer.body
    api.desk.broken = None


async def test_H6_a_large_body_is_413_declared_or_not(api):
    big = b'{"action":"hold","filter":{"id":"' + b"a" * MAX_BODY + b'"}}'
    head = b"POST /v1/queue/actions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    declared = await exchange(api.control, head + b"Content-Length: %d\r\n\r\n" % len(big) + big)
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(big), big)
    chunked = await exchange(api.control, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)
    assert (declared.status, chunked.status) == (413, 413)
    assert chunked.json["title"] == "Content Too Large"
    assert api.desk.acts == []


@pytest.mark.parametrize("depth", [100, 500, 900, 5_000, 100_000])
@pytest.mark.parametrize(
    "target", ["/v1/queue/actions", "/v1/messages", "/smtp/send-email", "/api/email-provider/providers/"]
)
async def test_H6_deep_json_is_refused(api, target, depth):
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n".encode()
    for body in (
        b"[" * depth,
        b"[" * depth + b"]" * depth,
        b'{"metadata":' + b'{"a":' * depth + b"1" + b"}" * (depth + 1),
    ):
        answer = await exchange(api.control, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert answer.status in (400, 422, 413 if len(body) > 64 << 10 else 400)
        assert len(answer.body) < 20_000


@pytest.mark.parametrize("target", ["/v1/messages/", "/v1/queue/stats/", "/v1/explain/", "/token/", "/docs/"])
async def test_nobody_is_sent_elsewhere(api, target):
    """A redirect would name the Host of the request, and http also behind a proxy that speaks TLS."""
    answer = await request(api.control, target, Host="evil.example")
    assert (answer.status, "location" in answer.headers) == (404, False)


@pytest.mark.parametrize("target", ["/docs", "/v1/messages", "/v1/nothing", "/healthz", "*bad*"])
async def test_H14_no_page_frames_or_runs_an_answer(api, target):
    """A page with our own in a frame could have people click what the open API then does."""
    answer = await request(api.port, target)
    assert (answer.headers["x-frame-options"], answer.headers["x-content-type-options"]) == ("DENY", "nosniff")


async def test_openapi_names_every_resource(api):
    paths = json.loads((await request(api.control, "/openapi.json")).body)["paths"]
    assert {"/healthz", "/v1/messages", "/v1/messages/{id}/{action}", "/v1/queue/actions", "/v1/explain"} <= set(paths)


async def test_head_requests_of_load_balancers(api):
    answer = await request(api.port, "/healthz", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
