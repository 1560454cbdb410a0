"""STARTTLS and implicit TLS on both event loops: hazards C1, C2, C8, D1, L3, L11."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from relay.listener import tls
from relay.listener.admission import Admission, Room
from relay.listener.service import Ports, Service
from relay.listener.settings import Settings
from tests.registry import FakeAccounts

USERS = {"crm": "open sesame"}
WHOLE = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: x\r\n\r\ntext\r\n.\r\nQUIT\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("relay.test")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(folder / "cert.pem", append=True)
    return {"certfile": str(folder / "cert.pem"), "keyfile": str(folder / "key.pem")}


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    made = ssl.create_default_context()
    authority.configure_trust(made)
    return made


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def on_loop(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    def run(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main)

    return run


@pytest.fixture
def tls_rig(run_rig, server_files):
    async def start(mode: str, **changes: Any):
        return await run_rig(tls=mode, **server_files, **changes)

    return start


async def upgraded(client, context):
    """Say STARTTLS and shake hands."""
    assert (await client.say("STARTTLS")).startswith("220 2.0.0 ")
    await client.writer.start_tls(context, server_hostname="relay.test")
    return client


def test_starttls(on_loop, tls_rig, context):
    async def main():
        rig = await tls_rig("starttls", auth="optional", users=USERS)
        client = await rig.client()
        assert "STARTTLS" in await client.say("EHLO x")
        await upgraded(client, context)
        assert (await client.say("MAIL FROM:<a@example.com>")).startswith("503 5.5.1 ")
        offered = await client.say("EHLO x")
        assert "STARTTLS" not in offered
        assert "AUTH PLAIN LOGIN" in offered
        assert (await client.say("AUTH PLAIN AGNybQBvcGVuIHNlc2FtZQ==")).startswith("235 ")
        assert (await client.message(b"x" * 100_000 + b"\r\n")).startswith("250 ")
        assert b" with ESMTPSA id " in rig.intake.submissions[0].message.prefix
        await rig.close()

    on_loop(main())


def test_implicit(on_loop, tls_rig, context):
    async def main():
        rig = await tls_rig("implicit")
        client = await rig.connect(ssl=context, server_hostname="relay.test")
        await client.greeted()
        assert "STARTTLS" not in await client.say("EHLO x")
        assert (await client.say("STARTTLS")).startswith("503 ")
        client.send(WHOLE)
        assert (await client.rest()).endswith(b"221 2.0.0 Bye\r\n")
        assert b" with ESMTPS id " in rig.intake.submissions[0].message.prefix
        await rig.close()

    on_loop(main())


def test_C1_what_came_behind_starttls_is_discarded(on_loop, tls_rig, context):
    async def main():
        rig = await tls_rig("starttls")
        client = await rig.client()
        client.send(b"STARTTLS\r\nMAIL FROM:<injected@example.com>\r\nRCPT TO:<b@example.com>\r\n")
        assert (await client.reply()).startswith("220 ")
        await client.writer.start_tls(context, server_hostname="relay.test")
        assert (await client.say("EHLO x")).startswith("250-")
        assert (await client.say("RCPT TO:<c@example.com>")).startswith("503 ")
        assert (await client.message(b"")).startswith("250 ")
        assert rig.intake.submissions[0].message.envelope.sender == "a@example.com"
        await rig.close()

    on_loop(main())


def test_C2_a_transaction_does_not_survive_starttls(on_loop, tls_rig, context):
    async def main():
        rig = await tls_rig("starttls")
        client = await rig.client()
        client.send(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n")
        await client.reply(), await client.reply()
        await upgraded(client, context)
        assert (await client.say("DATA")).startswith("503 5.5.1 ")
        await rig.close()

    on_loop(main())


def test_L11_a_second_starttls(on_loop, tls_rig, context):
    async def main():
        rig = await tls_rig("starttls")
        client = await upgraded(await rig.client(), context)
        await client.say("EHLO x")
        assert (await client.say("STARTTLS")).startswith("503 5.5.1 ")
        assert await client.say("NOOP") == "250 2.0.0 Ok"
        await rig.close()

    on_loop(main())


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
def test_D1_C8_a_handshake_that_stalls_is_cut(on_loop, tls_rig, mode):
    async def main():
        rig = await tls_rig(mode, patience={"handshake": 0.05})
        client = await rig.connect()
        if mode == "starttls":
            await client.greeted()
            await client.say("STARTTLS")
        assert await client.rest() == b""
        await rig.until(lambda: rig.listener.connections == 0)
        assert rig.reasons() == ["tls"]
        await rig.close()

    on_loop(main())


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
def test_a_handshake_that_is_none(on_loop, tls_rig, mode):
    async def main():
        rig = await tls_rig(mode)
        client = await rig.connect()
        if mode == "starttls":
            await client.greeted()
            await client.say("STARTTLS")
        client.send(b"EHLO me\r\nMAIL FROM:<a@example.com>\r\n" * 10)
        assert b"250" not in await client.rest()
        await rig.until(lambda: rig.listener.connections == 0)
        assert rig.reasons() == ["tls"]
        await rig.close()

    on_loop(main())


def test_a_client_that_goes_during_the_handshake(on_loop, tls_rig):
    async def main():
        rig = await tls_rig("implicit")
        client = await rig.connect()
        await client.close()
        await rig.until(lambda: rig.events != [] and rig.listener.connections == 0)
        await rig.close()

    on_loop(main())


def test_stop_during_a_handshake(on_loop, tls_rig):
    async def main():
        rig = await tls_rig("implicit")
        await rig.connect()
        await rig.until(lambda: rig.listener.connections == 1)
        await rig.listener.stop(0.05)
        await rig.until(lambda: rig.listener.connections == 0)
        await rig.close()

    on_loop(main())


def test_L3_a_tls_client_that_goes_after_quit_loses_nothing(on_loop, tls_rig, context):
    async def main():
        rig = await tls_rig("implicit")
        rig.intake.gate = asyncio.Event()
        client = await rig.connect(ssl=context, server_hostname="relay.test")
        await client.greeted()
        client.send(WHOLE)
        await rig.intake.entered.wait()
        client.writer.transport.abort()
        await rig.until(lambda: rig.listener.connections == 0)
        rig.intake.gate.set()
        await rig.until(lambda: len(rig.intake.submissions) == 1)
        await rig.close()

    on_loop(main())


def test_tls_1_2_is_the_least(server_files):
    settings = Settings(name="n", address="", hostname="h", tls="implicit", **server_files)
    made = tls.context(settings)
    assert made is not None
    assert made.minimum_version is ssl.TLSVersion.TLSv1_2


def test_plaintext_sessions_on_both_loops(on_loop, run_rig):
    async def main():
        rig = await run_rig()
        rig.intake.drain_every = 50_000
        client = await rig.connect()
        client.send(b"EHLO x\r\n" + WHOLE.replace(b"text", b"t" * 1_000_000))
        client.writer.write_eof()
        said = await client.rest()
        assert said.endswith(b"221 2.0.0 Bye\r\n")
        assert b"queued as" in said
        await rig.close()

    on_loop(main())


async def test_auth_is_offered_in_clear_to_this_machine_only(serve):
    rig = await serve(auth="optional", users=USERS)
    assert "AUTH" in await (await rig.client()).say("EHLO x")
    ports = Ports(intake=rig.intake, accounts=FakeAccounts(), observe=print, clock=time.time, monotonic=time.monotonic)
    service = Service(rig.listener.settings, ports, Admission(rig.listener.settings, Room(9)))
    assert service.offers_auth(secure=False, local=True)
    assert service.offers_auth(secure=True, local=False)
    assert not service.offers_auth(secure=False, local=False)
