"""The relay's HTTP side as a program of somebody else speaks to it: over TCP, with or without a token.

Built by tests from a running relay. It holds no connection open: every request is one of its own.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from relay_process import Relay

JSON_TYPE = "application/json"
PROBLEM = "application/problem+json"
PROVIDERS = "/api/email-provider/providers/"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def must(self, status: int) -> Any:
        """The JSON of an answer with this status; None when there is no body."""
        assert self.status == status, (self.status, self.body)
        return self.json if self.body else None

    def refused(self, status: int) -> Any:
        """The problem document of a refusal with this status."""
        assert self.headers.get("content-type") == PROBLEM, (self.status, self.headers, self.body)
        assert self.must(status)["status"] == status
        return self.json


@dataclass(frozen=True)
class Http:
    """One who knocks at a port of 127.0.0.1. `token` "": without one."""

    port: int
    token: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    timeout: float = 30

    def send(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        with contextlib.closing(connection):
            connection.request(method, target, body, bearer | self.headers | headers)
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())

    def __call__(self, method: str, target: str, content: Any = None, **headers: str) -> Answer:
        """A request, with `content` as JSON. A header `X_App` is sent as X-App."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if content is None:
            return self.send(method, target, None, named)
        return self.send(method, target, json.dumps(content).encode(), {"Content-Type": JSON_TYPE} | named)

    def get(self, target: str, **query: Any) -> Any:
        """The JSON of a GET that must succeed."""
        return self("GET", f"{target}?{urlencode(query, doseq=True)}" if query else target).must(200)

    def login(self, name: str, password: str, **more: str) -> Answer:
        """POST /token, the OAuth2 password form."""
        form = urlencode({"username": name, "password": password} | more).encode()
        return self.send("POST", "/token", form, {"Content-Type": "application/x-www-form-urlencoded"})

    def as_user(self, name: str, password: str) -> Http:
        """The same with a session's token."""
        return Http(self.port, self.login(name, password).must(200)["access_token"], self.headers, self.timeout)


def http_of(relay: Relay, token: str = "") -> Http:
    return Http(relay.http_port, token)


def local(port: int, **more: Any) -> dict[str, Any]:
    """The settings of a provider on 127.0.0.1 without TLS, as the API takes them."""
    plain = {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_use_tls": False, "smtp_use_ssl": False}
    return {"name": "upstream", "provider_type": "smtp", **plain} | more
