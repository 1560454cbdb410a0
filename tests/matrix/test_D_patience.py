"""C8, D1, D2, D10: clients that take their time, all beside each other for half a minute, against one real process.

The deadlines of the real thing are as long as RFC 5321 wants them; those of minutes are in tests/unit/listener, with
shorter ones. Here is what takes effect within half a minute, and that meanwhile others are served at once.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import Certificate
from matrix.client import Client, connected, opened, until
from matrix.scribe import Scribe
from relay_process import Relay, provider
from waiting import free_port

HANDSHAKE = 30.0
SLOW_REFUSALS = 80 * 0.25
"""A hundred refusals are borne, all but twenty of them answered a quarter of a second later."""


def client_hello() -> bytes:
    out = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    return out.read()


async def gone(client: Client, drip: bytes = b"") -> float:
    """Seconds until the relay closes; meanwhile a byte of `drip` every quarter of a second."""
    began = time.monotonic()
    heard = asyncio.ensure_future(client.reader.read())
    for at in range(len(drip)):
        if heard.done():
            break
        client.send(drip[at : at + 1])
        await asyncio.wait([heard], timeout=0.25)
    said = (await asyncio.gather(asyncio.wait_for(heard, 60), return_exceptions=True))[0]
    assert isinstance(said, ConnectionError) or b"220 " not in said
    return time.monotonic() - began


async def stalls(port: int, starttls: bool, drip: bytes) -> None:
    """C8: cut at the deadline, whether nothing comes or a byte now and then."""
    async with opened(port) as client:
        if starttls:
            await client.greeted()
            assert (await client.say(b"STARTTLS")).startswith(b"220 ")
        seconds = await gone(client, drip)
        assert HANDSHAKE - 2 < seconds < HANDSHAKE + 10, (starttls, drip[:3], seconds)


async def loops(door: Path, command: bytes) -> None:
    """D1: a command that is fine and leads nowhere does not keep a session for ever."""
    async with connected(door) as client:
        client.send(command * 10_000)
        replies = (await client.rest()).splitlines()
        assert replies[-1].startswith(b"421 4.7.0 "), (command, replies[-1])
        assert 90 <= len(replies) <= 1200, command


async def junk(door: Path) -> None:
    """D10: slowed, then shown out."""
    async with connected(door) as client:
        began = time.monotonic()
        client.send(b"BOGUS\r\n" * 200)
        replies = (await client.rest()).splitlines()
        assert set(replies[:-1]) == {b"500 5.5.2 Command not recognized"}
        assert replies[-1].startswith(b"421 4.7.0 ")
        assert SLOW_REFUSALS * 0.8 < time.monotonic() - began < HANDSHAKE


async def honest(door: Path) -> None:
    """D2: two and a half megabytes at a hundred kilobytes a second, in pieces of ten milliseconds' worth."""
    async with connected(door) as client:
        client.send(b"MAIL FROM:<slow@d2.test>\r\nRCPT TO:<slow@d2.test>\r\nDATA\r\n")
        await client.expect(b"250", b"250", b"354")
        for _ in range(250):
            client.send((b"s" * 98 + b"\r\n") * 100)
            await asyncio.sleep(0.1)
        client.send(b".\r\n")
        await client.expect(b"250")
        await client.quit()


async def others(port: int, over: asyncio.Event) -> None:
    """Whoever comes meanwhile is served: ten messages a second, none of which takes long."""
    longest = 0.0
    async with connected(port) as client:
        while not over.is_set():
            began = time.monotonic()
            client.send(b"MAIL FROM:<a@d1.test>\r\nRCPT TO:<b@d1.test>\r\nDATA\r\n.\r\n")
            await client.expect(b"250", b"250", b"354", b"250")
            longest = max(longest, time.monotonic() - began)
            await asyncio.sleep(0.1)
        await client.quit()
    assert longest < 3


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_C8_D1_D2_D10_those_who_take_their_time(relay: Callable[..., Relay], certificate: Certificate) -> None:
    """Slow: a handshake has thirty seconds. All cases wait beside each other, and nothing is busy."""
    async with Scribe(keep=1 << 22) as upstream:
        one = relay(providers=[provider("p", upstream.port)])
        tls = {"cert": str(certificate.cert), "key": str(certificate.key)}
        starttls, implicit, door = free_port(), free_port(), one.folder / "in.sock"
        one.config["listeners"] += [
            {"name": "starttls", "listen": f"127.0.0.1:{starttls}", "tls": "starttls", **tls},
            {"name": "implicit", "listen": f"127.0.0.1:{implicit}", "tls": "implicit", **tls},
            {"name": "unix", "listen": f"unix:{door}"},
        ]
        one.start()
        over = asyncio.Event()
        serving = asyncio.create_task(others(one.smtp_port, over))
        drips = (b"", client_hello(), b"\x16")
        cases = [stalls(port, port == starttls, drip) for port in (starttls, implicit) for drip in drips]
        cases += [
            loops(door, command) for command in (b"NOOP\r\n", b"RSET\r\n", b"VRFY x\r\n", b"EHLO x\r\n", b"HELP\r\n")
        ]
        cases += [loops(door, b"MAIL FROM:<a@d1.test>\r\nRSET\r\n"), junk(door), honest(door)]
        await asyncio.gather(*cases)
        over.set()
        await serving
        await until(lambda: one.metric("relay_smtp_connections") == 0, 10, "all have gone")
        await until(lambda: upstream.to(b"slow@d2.test"), 10, "the slow one's message")
        assert upstream.to(b"slow@d2.test")[0].wire.endswith((b"s" * 98 + b"\r\n") * 25_000)
