"""Seed e, replayed: its commands as they are typed, its two schemas, and a mail for every run of a workflow."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest
from certificates import Certificate
from http_door import Http, http_of
from postfix import Delivered, Postfix, serving
from relay_process import Relay
from seed_files import code, text
from seed_world import trusting
from waiting import until

WORKFLOW = "build-and-sign"
RUN = {
    "id": "7f3c2a",
    "status": "succeeded",
    "runner": {"type": "GITHUB_ACTION", "url": "https://ci.example.com/run/1?a=1&b=2"},
    "started_at": "2026-11-22T00:36:20Z",
}
ATTESTATION = {"digest": "sha256:0f1e2d", "materials": [{"name": "image", "value": "registry.example.com/app:1"}]}
OUTSIDE = {"user": "app@relay.test", "password": "right", "host": "localhost"}


def commands() -> list[str]:
    """The blocks without a language: a command each."""
    blocks = re.findall(r"^```\n(.*?)^```$", text("e"), re.M | re.S)
    return [block.strip() for block in blocks if block.startswith("chainloop ")]


def adapted(command: str, port: int, integration: str = "") -> list[str]:
    """As it stands but for the command's name, host, port, credentials, and the two variables."""
    program, *words = shlex.split(command)
    assert program == "chainloop"
    words = [word.replace("$WID", WORKFLOW).replace("$IID", integration) for word in words]
    replaced = OUTSIDE | {"port": str(port)}
    return [f"{name}={replaced[name]}" if (name := word.partition("=")[0]) in replaced else word for word in words]


@pytest.fixture(scope="module")
def upstream(certificate: Certificate) -> Iterator[Postfix]:
    with serving(certificate.pem, auth=True) as postfix:
        yield postfix


@pytest.fixture(scope="module")
def world(upstream: Postfix, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A relay without a provider: what goes out goes by the integration's own server."""
    relay = trusting(Relay(tmp_path_factory.mktemp("seed-e"), {}), certificate)
    try:
        yield relay.start()
    finally:
        relay.stop()
    assert "Traceback" not in relay.log_text(), relay.log_text()[-4000:]
    assert OUTSIDE["password"] not in re.findall(r"[\w*]+", relay.log_text())


def registered(world: Relay) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = http_of(world).get("/v1/integrations/registrations")["data"]
    return rows


def parsed(mail: Delivered) -> EmailMessage:
    return BytesParser(policy=policy.default).parsebytes(mail.content)  # type: ignore[return-value]


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body(preferencelist=(kind,))
    assert part is not None
    return str(part.get_content())


def test_the_files_commands_register_attach_and_every_run_is_mailed(world: Relay, upstream: Postfix) -> None:
    register, with_cc, without = commands()
    run = world.cli(*adapted(register, upstream.port))
    assert run.returncode == 0, run.stderr
    (one,) = registered(world)
    assert one["integration"] == "smtp"
    assert one["options"]["from"] == "notifier@example.com"
    assert OUTSIDE["password"] not in json.dumps(one).replace("encrypted_password", "")
    for command in (with_cc, without):
        run = world.cli(*adapted(command, upstream.port, str(one["id"])))
        assert run.returncode == 0, run.stderr
    door = http_of(world)
    outcome = door("POST", "/v1/workflow-runs", {"workflow": WORKFLOW, "run": RUN, "attestation": ATTESTATION}).must(
        202
    )
    assert (len(outcome["messages"]), outcome["failed"]) == (2, [])
    until(lambda: len(upstream.delivered("platform-team@example.com")) == 2, 20, "a mail for each attachment")
    mails = [parsed(mail) for mail in upstream.delivered("platform-team@example.com")]
    assert sorted(str(mail["Cc"] or "") for mail in mails) == ["", "security@example.com"]
    assert len(upstream.delivered("security@example.com")) == 1
    for mail in mails:
        assert (mail["From"], mail["To"]) == ("notifier@example.com", "platform-team@example.com")
        assert WORKFLOW in mail["Subject"]
        for value in ("7f3c2a", "succeeded", "GITHUB_ACTION", "https://ci.example.com/run/1?a=1&b=2", "sha256:0f1e2d"):
            assert value in body(mail, "plain")
        assert "https://ci.example.com/run/1?a=1&amp;b=2" in body(mail, "html")
        (attached,) = mail.iter_attachments()
        assert attached.get_content_type() == "application/json"
        assert json.loads(attached.get_payload(decode=True)) == ATTESTATION
    for message in outcome["messages"]:
        until(lambda id=message: door.get(f"/v1/messages/{id}")["state"] == "accepted", 10, "it is accepted")  # type: ignore[misc]
        assert door.get(f"/v1/messages/{message}")["recipients"][0]["provider"] == f"integration/{one['id']}"


def test_a_workflow_without_attachments_mails_nobody(world: Relay) -> None:
    order = {"workflow": "other", "run": {}, "attestation": {}}
    outcome = http_of(world)("POST", "/v1/workflow-runs", order).must(202)
    assert (outcome["messages"], outcome["failed"]) == ([], [])


@pytest.mark.parametrize(("number", "name"), [(0, "registration"), (1, "attachment")])
def test_the_schemas_are_served_as_they_stand(world: Relay, number: int, name: str) -> None:
    assert http_of(world).get(f"/v1/integrations/smtp/schema/{name}") == json.loads(code("e", "json")[number])


def registration(upstream: Postfix, **change: Any) -> dict[str, Any]:
    whole = {"to": "a@example.com", "from": "b@example.com", "port": str(upstream.port)} | OUTSIDE
    return {"integration": "smtp", "options": {k: v for k, v in (whole | change).items() if v is not None}}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        *[({name: None}, name) for name in json.loads(code("e", "json")[0])["required"]],
        ({"to": "nobody"}, "to"),
        ({"to": "a@example.com\r\nBcc: b@example.com"}, "to"),
        ({"from": "a@b@c"}, "from"),
        ({"user": ""}, "user"),
        ({"port": 587}, "port"),
        ({"port": "smtp"}, "port"),
        ({"port": "70000"}, "port"),
        ({"host": "not a host"}, "host"),
        ({"cc": "c@example.com"}, "cc"),
    ],
)
def test_a_registration_is_judged_by_its_schema_and_named(
    world: Relay, upstream: Postfix, change: dict[str, Any], place: str
) -> None:
    before = registered(world)
    refused = http_of(world)("POST", "/v1/integrations/registrations", registration(upstream, **change)).refused(422)
    assert any(place in map(str, error["loc"]) or place in error["msg"] for error in refused["errors"]), refused
    assert registered(world) == before


def test_wrong_credentials_are_found_before_anything_is_stored(world: Relay, upstream: Postfix) -> None:
    before = registered(world)
    order = registration(upstream, password="guessed")
    refused = http_of(world)("POST", "/v1/integrations/registrations", order).refused(422)
    assert any("password" in map(str, error["loc"]) for error in refused["errors"])
    assert "535" in refused["detail"]
    assert "guessed" not in json.dumps(refused)
    assert registered(world) == before


def attachments(door: Http) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = door.get("/v1/integrations/attachments")["data"]
    return rows


@pytest.mark.parametrize(
    ("order", "place"),
    [
        ({"workflow": WORKFLOW, "integration": 4711, "options": {}}, "integration"),
        ({"workflow": WORKFLOW, "integration": 1, "options": {"cc": "nobody"}}, "cc"),
        ({"workflow": WORKFLOW, "integration": 1, "options": {"bcc": "a@example.com"}}, "bcc"),
        ({"workflow": "", "integration": 1, "options": {}}, "workflow"),
    ],
)
def test_an_attachment_is_judged_and_named(world: Relay, order: dict[str, Any], place: str) -> None:
    door = http_of(world)
    before = attachments(door)
    answer = door("POST", "/v1/integrations/attachments", order)
    refused = answer.refused(422 if answer.status == 422 else 404)
    assert place in json.dumps(refused)
    assert attachments(door) == before


def test_the_password_is_encrypted_at_rest(world: Relay, upstream: Postfix) -> None:
    secret = "s3cret of the integration"
    upstream.set_password("crm", secret)
    order = registration(upstream, user="crm@relay.test", password=secret)
    made = http_of(world)("POST", "/v1/integrations/registrations", order).must(201)
    assert secret not in json.dumps(made)
    everything = b"".join(path.read_bytes() for path in Path(world.folder / "spool").iterdir() if path.is_file())
    assert b"crm@relay.test" in everything, "it is there, but for the password"
    assert secret.encode() not in everything
