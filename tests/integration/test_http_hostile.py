"""Strangers, web pages, proxies and broken requests at the HTTP port of a relay that runs."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from http_door import PROVIDERS, Http, http_of, local
from relay_process import Relay

MAKE = Callable[..., Relay]
ORDER = {"from": "app@client.test", "to": ["bob@example.com"], "subject": "hello", "text": "Hello.\n"}
EVIL = ["a\r\nBcc: eve@evil.test", "a\nb", "a\rb", "a\0b", "\ud800", "a\x1b[2J", "a\x7f", "a\x85b"]


@pytest.fixture(scope="module")
def http_(tmp_path_factory: pytest.TempPathFactory) -> Any:
    one = Relay(tmp_path_factory.mktemp("hostile"), {})
    try:
        yield http_of(one.start())
    finally:
        one.stop()
    assert "Traceback" not in one.log_text(), one.log_text()[-4000:]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8025"},
        {"Forwarded": "for=192.0.2.1"},
        {"X-Forwarded-For": "192.0.2.1"},
        {"Via": "1.1 proxy"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
    ],
)
def test_H14_web_pages_and_proxies_are_refused(http_: Http, headers: dict[str, str]) -> None:
    before = len(http_.get("/v1/messages")["data"])
    refusal = http_("POST", "/v1/messages", ORDER, **{k.replace("-", "_"): v for k, v in headers.items()})
    assert "relay token create" in refusal.refused(403)["detail"]
    assert len(http_.get("/v1/messages")["data"]) == before


@pytest.mark.parametrize("host", ["localhost", "localhost:8025", "127.0.0.1:1", "[::1]:8025", "relay.test"])
def test_H14_names_of_this_machine_are_taken(http_: Http, host: str) -> None:
    assert http_("GET", "/v1/messages", Host=host).status == 200
    assert http_("GET", "/v1/messages", Host=host, Origin=f"http://{host}").status == 200


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("field", ["from", "to", "cc", "bcc", "reply_to", "subject", "headers", "tags", "identity"])
def test_H1_no_line_can_be_forged(http_: Http, field: str, text: str) -> None:
    value: Any = {"headers": {"X-App": text}}.get(field, [text] if field in ("to", "cc", "bcc", "tags") else text)
    refusal = http_("POST", "/v1/messages", ORDER | {field: value}).refused(422)
    assert any(field in error["loc"] for error in refusal["errors"]), refusal


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("field", ["name", "smtp_host", "smtp_username", "from_email", "from_name", "reply_to"])
def test_H1_nor_by_a_provider(http_: Http, field: str, text: str) -> None:
    refusal = http_("POST", PROVIDERS, local(25, is_active=False, smtp_host="smtp.example.invalid") | {field: text})
    assert any(field in error["loc"] for error in refusal.refused(422)["errors"])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "10.1.2.3",
        "169.254.169.254",
        "0x7f.1",
        "2130706433",
        "127.1",
        "::1",
        "::ffff:127.0.0.1",
    ],
)
def test_H2_private_addresses_are_refused(http_: Http, host: str) -> None:
    refusal = http_("POST", PROVIDERS, local(25, smtp_host=host)).refused(422)
    assert "smtp_host" in refusal["errors"][0]["loc"]
    assert http_.get(PROVIDERS) == []


def test_H2_says_how_to_allow_it(http_: Http) -> None:
    assert "allow_private_providers" in str(http_("POST", PROVIDERS, local(25)).refused(422))


def test_H6_a_body_that_is_too_large_or_never_ends(http_: Http) -> None:
    huge = ORDER | {"text": "x" * 60_000_000}
    assert http_("POST", "/v1/messages", huge).status == 413
    with socket.create_connection(("127.0.0.1", http_.port), timeout=20) as client, client.makefile("rb") as answer:
        client.sendall(
            b"POST /v1/queue/actions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )

        def endless() -> None:
            try:
                for _ in range(2000):
                    client.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            except OSError:
                return

        thread = threading.Thread(target=endless)
        thread.start()
        assert b" 413 " in answer.readline()
        client.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"", b"nonsense", b'{"to": NaN}'])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/queue/actions", PROVIDERS])
def test_H6_what_is_no_json_is_refused(http_: Http, path: str, raw: bytes) -> None:
    answer = http_.send("POST", path, raw, {"Content-Type": "application/json"})
    assert answer.status in (400, 413, 422), answer.body
    assert "detail" in answer.json


@pytest.mark.parametrize("path", ["/v1/messages", PROVIDERS])
def test_unknown_fields_are_named(http_: Http, path: str) -> None:
    refusal = http_("POST", path, {"subjct": "typo"}).refused(422)
    assert any("subjct" in error["loc"] for error in refusal["errors"])


def test_H6_memory_stays_flat(relay: MAKE) -> None:
    one = relay().start()
    door = http_of(one)
    order = json.dumps(ORDER | {"text": "x" * 900_000}).encode()
    for _ in range(5):
        door.send("POST", "/v1/messages", order, {"Content-Type": "application/json"})
    before = one.memory()
    for _ in range(40):
        door.send("POST", "/v1/messages", b'{"a":' * 100_000, {"Content-Type": "application/json"})
        assert door.send("POST", "/v1/messages", order, {"Content-Type": "application/json"}).status in (202, 429)
    assert one.memory() - before < 40 << 20


def test_many_connections_that_say_nothing_shut_nobody_out(relay: MAKE) -> None:
    one = relay().start()
    idle = [socket.create_connection(("127.0.0.1", one.http_port), timeout=10) for _ in range(300)]
    try:
        assert http_of(one)("GET", "/v1/messages").status == 200
    except http.client.HTTPException as error:
        pytest.fail(f"no answer: {error!r}")
    finally:
        for connection in idle:
            connection.close()
