"""Seed c, replayed: its request as it stands, and the three answers it knows, each with a body as it says."""

from __future__ import annotations

from collections.abc import Iterator
from email import policy
from email.parser import BytesParser
from typing import Any

import pytest
from certificates import Certificate
from http_door import Answer, Http, http_of, local
from postfix import Postfix
from relay_process import Relay
from seed_files import like, send_api
from seed_world import USER, world_of

SEED = send_api()
METHOD, PATH = SEED.endpoints[0]


@pytest.fixture(scope="module")
def world(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Relay, Postfix, Http]]:
    with world_of(certificate, tmp_path_factory.mktemp("seed-c")) as (relay, upstream):
        http = http_of(relay).as_user(*USER)
        secured = {"smtp_host": "localhost", "smtp_use_tls": True, "smtp_username": "app@relay.test"}
        made = local(upstream.port, **secured, smtp_password="right", from_email="app@client.test")
        http("POST", "/api/email-provider/providers/", made | {"is_default": True}).must(201)
        yield relay, upstream, http


def test_the_answers_it_knows() -> None:
    assert [shown.status for shown in SEED.answers] == [200, 400, 401]


def test_send(world: tuple[Relay, Postfix, Http]) -> None:
    _, upstream, http = world
    answer = http(METHOD, PATH, SEED.body)
    assert answer.must(200) == SEED.answer(200)
    mail = upstream.wait_for(SEED.body["to"])[0]
    parsed = BytesParser(policy=policy.default).parsebytes(mail.content)
    assert (parsed["Subject"], parsed["To"], parsed["From"]) == (
        SEED.body["subject"],
        SEED.body["to"],
        "app@client.test",
    )
    assert parsed.get_content().strip() == SEED.body["message"]
    assert mail.sender == "app@client.test"


def refused(answer: Answer, status: int) -> str:
    """The only key of a refusal's body is `detail`, a sentence."""
    got = answer.must(status)
    like({"detail": "text"}, got)
    assert answer.headers["content-type"] == "application/json"
    return str(got["detail"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"to": "nobody"}, "to"),
        ({"to": "a@example.com\r\nBcc: b@example.com"}, "to"),
        ({"to": ""}, "to"),
        ({"to": 5}, "to"),
        ({"subject": None}, "subject"),
        ({"subject": "a\nX-Evil: b"}, "subject"),
        ({"message": ["text"]}, "message"),
        ({"message": "\ud800"}, "message"),
        ({"cc": "c@example.com"}, "cc"),
    ],
)
def test_400_for_anything_malformed_names_it(
    world: tuple[Relay, Postfix, Http], change: dict[str, Any], named: str
) -> None:
    assert named in refused(world[2](METHOD, PATH, SEED.body | change), 400)


@pytest.mark.parametrize("missing", ["to", "subject", "message"])
def test_400_for_what_is_missing(world: tuple[Relay, Postfix, Http], missing: str) -> None:
    assert missing in refused(world[2](METHOD, PATH, {k: v for k, v in SEED.body.items() if k != missing}), 400)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'{"to":"\xff"}', b"[" * 5000 + b"]" * 5000])
def test_400_for_what_is_no_json_object(world: tuple[Relay, Postfix, Http], raw: bytes) -> None:
    assert refused(world[2].send(METHOD, PATH, raw, {"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize("token", ["", "wrong", "a b", "\xe9"])
def test_401_without_a_token_or_with_one_of_nobody(world: tuple[Relay, Postfix, Http], token: str) -> None:
    answer = Http(world[2].port, token)(METHOD, PATH, SEED.body)
    assert refused(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")
