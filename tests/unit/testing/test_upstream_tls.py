"""Actions at the phases that only TLS has, seen by a client that encrypts; and the zoo of certificates."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
from pathlib import Path
from typing import Any

import pytest

from relay.testing.certificates import KINDS, Zoo
from relay.testing.upstream import ACTIONS, Script, ScriptedUpstream

FAST: dict[str, Any] = {"slow": 0.02, "too_slow": 0.05, "drip": 0.0001, "offers": ()}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.mktemp("zoo"))


async def dialog(upstream: ScriptedUpstream, trust: ssl.SSLContext) -> list[str]:
    """A lock-step client: the first line of each reply, and at last how it ended."""
    implicit = trust if upstream.implicit else None
    heard: list[str] = []
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(0.5):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                upstream.port,
                ssl=implicit,
                server_hostname="localhost" if implicit else None,
                limit=2_000_000,
            )
            heard.append(await line(reader))
            for command in ("EHLO x", *(() if implicit else ("STARTTLS", "EHLO x")), "MAIL FROM:<a@b>", "QUIT"):
                writer.write(command.encode() + b"\r\n")
                heard.append(await line(reader))
                if command == "STARTTLS" and heard[-1].startswith("220"):
                    await writer.start_tls(trust, server_hostname="localhost")
            heard.append("end" if not await reader.read() else "more")
    except TimeoutError:
        heard.append("silent")
    except ssl.SSLError:
        heard.append("no TLS")
    except OSError:
        heard.append("lost")
    finally:
        if writer is not None:
            writer.transport.abort()
    return heard


async def line(reader: asyncio.StreamReader) -> str:
    while text := await reader.readline():
        if text[3:4] != b"-":
            return text.decode("latin-1").strip()
    raise ConnectionResetError


HELLO = ["220 scripted ESMTP", "250 STARTTLS"]
SECURE = [*HELLO, "220 2.0.0 go ahead"]
REST = ["250 2.1.0 ok", "221 2.0.0 bye", "end"]


@pytest.mark.parametrize(
    ("phase", "action", "heard"),
    [
        ("starttls", "slow", [*SECURE, "250 scripted", *REST]),
        ("starttls", "4xx", [*HELLO, "454 4.7.0 scripted: TLS not available", "250 STARTTLS", *REST]),
        ("starttls", "wrong-class", [*HELLO, "354 scripted", "250 STARTTLS", *REST]),
        ("starttls", "421", [*HELLO, "421 4.3.2 scripted: closing", "lost"]),
        ("starttls", "tls-alert", [*HELLO, "\x15\x03\x03\0\2\2(", "lost"]),
        ("handshake", "slow", [*SECURE, "250 scripted", *REST]),
        ("handshake", "fin", [*SECURE, "lost"]),
        ("handshake", "rst", [*SECURE, "lost"]),
        ("handshake", "vanish", [*SECURE, "lost"]),
        ("handshake", "silence", [*SECURE, "silent"]),
        ("handshake", "half-reply", [*SECURE, "silent"]),
        ("handshake", "4xx", [*SECURE, "no TLS"]),
        ("handshake", "tls-alert", [*SECURE, "no TLS"]),
        ("handshake", "early-reply", [*SECURE, "silent"]),
        ("handshake", "extra-reply", [*SECURE, "250 2.0.0 scripted: unasked", "250 scripted", *REST[:-2], "end"]),
        ("ehlo-again", "5xx", [*SECURE, "550 5.7.1 scripted: bad name", *REST]),
        ("ehlo-again", "twice", [*SECURE, "250 scripted", "250 scripted", "250 2.1.0 ok", "more"]),
        ("ehlo-again", "tls-alert", [*SECURE, "no TLS"]),
        ("ehlo-again", "early-reply", [*SECURE, "250 scripted", *REST]),
        ("mail", "fin", [*SECURE, "250 scripted", "lost"]),
        ("mail", "tls-alert", [*SECURE, "250 scripted", "no TLS"]),
        ("mail", "half-close", [*SECURE, "250 scripted", "lost"]),
    ],
)
async def test_starttls(zoo: Zoo, phase: str, action: str, heard: list[str]) -> None:
    trust = ssl.create_default_context(cafile=zoo.ca_file)
    script = Script(connections=[{phase: action}], tls="starttls", **FAST)
    async with ScriptedUpstream(script, context=zoo.make().context) as upstream:
        seen = await dialog(upstream, trust)
        if (phase, action) == ("handshake", "extra-reply"):
            assert seen[3] == "250 2.0.0 scripted: unasked"  # within TLS
        else:
            assert seen == heard
        await upstream.until_closed()
        assert await dialog(upstream, trust) == [*SECURE, "250 scripted", *REST]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("phase", ["connect", "banner", "starttls", "handshake", "ehlo-again", "quit"])
async def test_every_combination_ends_when_the_client_does(zoo: Zoo, tls: str, phase: str) -> None:
    trust = ssl.create_default_context(cafile=zoo.ca_file)
    context = zoo.make().context

    async def check(action: str) -> None:
        script = Script(connections=[{phase: action}], tls=tls, **FAST)
        async with ScriptedUpstream(script, context=context) as upstream, asyncio.timeout(20):
            await dialog(upstream, trust)
            await upstream.until_closed()

    await asyncio.gather(*map(check, ACTIONS))


async def test_implicit_tls_begins_with_the_handshake_and_connect_comes_before_it(zoo: Zoo) -> None:
    trust = ssl.create_default_context(cafile=zoo.ca_file)
    script = Script(connections=[{"connect": "421"}, {"handshake": "fin"}], tls="implicit", **FAST)
    async with ScriptedUpstream(script, context=zoo.make().context) as upstream:
        ends = [await dialog(upstream, trust) for _ in range(3)]
    assert ends == [["no TLS"], ["lost"], ["220 scripted ESMTP", "250 scripted", *REST]]


WRONG = {
    "good": "",
    "expired": "expired",
    "not-yet-valid": "not yet valid",
    "wrong-host": "not valid for 'localhost'",
    "self-signed": "self-signed",
    "unknown-ca": "unable to get local issuer",
    "old-tls": "error",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_the_zoo(zoo: Zoo, kind: str) -> None:
    assert set(WRONG) == set(KINDS)
    trust = ssl.create_default_context(cafile=zoo.ca_file)
    made = zoo.make(kind)
    assert (made.kind, made.ca_file) == (kind, zoo.ca_file) and Path(made.ca_file).exists()
    async with ScriptedUpstream(Script(tls="implicit"), context=made.context) as upstream:
        error = ""
        try:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", upstream.port, ssl=trust, server_hostname="localhost"
            )
        except (ssl.SSLError, ConnectionError) as failure:
            error = repr(failure)
        else:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    assert bool(error) == bool(WRONG[kind])
    assert WRONG[kind] in error.lower()


async def test_a_zero_window_inside_tls_leaves_no_socket_open(zoo: Zoo) -> None:
    """asyncio's TLS cannot be closed in order once the other side's end came while nobody read."""
    trust = ssl.create_default_context(cafile=zoo.ca_file)
    script = Script(phases={"ehlo": "zero-window"}, tls="implicit")
    async with ScriptedUpstream(script, context=zoo.make().context) as upstream:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", upstream.port, ssl=trust, server_hostname="localhost"
        )
        await line(reader)
        writer.write(b"EHLO x\r\n")
        await upstream.until(lambda up: up.counts.phases["ehlo"] == 1)
        writer.transport.abort()
        await upstream.until_closed()
        gc.collect()  # a socket that nobody closed is a ResourceWarning, and that an error
