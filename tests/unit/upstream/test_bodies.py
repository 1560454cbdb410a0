"""What goes between 354 and the dot: byte for byte, however large, and never half."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import ClassVar

import pytest
from msgspec.structs import replace

from relay.model import Body, Fault, Phase, Provider, Rewrite, Timeouts, Tls, Verdict
from relay.smtp.data import stuff, unstuff
from relay.testing.mail import PREFIX, body_of, shipment_to
from relay.testing.upstream import ScriptedUpstream
from relay.upstream.smtp import SmtpTransport

ProviderFor = Callable[..., Provider]
HEAD = b"Subject: x\r\nFrom: app@example.com\r\n\r\n"


def smuggling_contents() -> Iterable[bytes]:
    """Hazard A1's ends of data around a payload, as content of a message."""
    before = (b"\n", b"\r", b"\r\n", b"\r\r\n", b"\n\r", b"\r\n\0", b"\r\n\t", b"\r\n\v", b"\r\n\xc2\x85")
    after = (b"\n", b"\r", b"\r\n", b"\r\r\n", b"\0\r\n", b" \r\n", b"\n\r")
    for start, end in product(before, after):
        yield HEAD + b"a" + start + b"." + end + b"MAIL FROM:<evil@x>\r\nRCPT TO:<evil@x>\r\nDATA\r\n.\r\n"


def file_of(wire: bytes, tmp_path: Path) -> Body:
    path = tmp_path / "body"
    path.write_bytes(wire)
    return Body(size=len(wire), path=path)


async def wire_of(transport: SmtpTransport, provider: Provider, body: Body, rewrite: Rewrite | None = None) -> None:
    [outcome] = await transport.send(shipment_to(provider, rewrite=rewrite), body)
    assert outcome.verdict is Verdict.ACCEPTED, outcome


async def test_A2_L14_no_bare_break_and_no_unstuffed_dot_leaves(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    contents = list(smuggling_contents())
    async with ScriptedUpstream() as upstream:
        provider = provider_for(upstream)
        await asyncio.gather(*(wire_of(transport, provider, body_of(stuff(content))) for content in contents))
        assert len(upstream.received) == len(contents)
        assert {received.mail[:26] for received in upstream.received} == {b"MAIL FROM:<a@example.com> "}
        for received in upstream.received:
            breaks = received.wire.count(b"\r\n")
            assert received.wire.count(b"\n") == received.wire.count(b"\r") == breaks
            assert received.wire.count(b"\r\n.") == received.wire.count(b"\r\n..")


@pytest.mark.parametrize(
    "content",
    [b"", b".\r\n", b"..\r\n", b".x\r\n", HEAD + b".\r\n..\r\n.x\r\n.", HEAD, HEAD + b"\r\n\r\n", b"\xff\x00\r\n"],
)
@pytest.mark.parametrize("in_file", [False, True])
async def test_E5_bodies_arrive_byte_for_byte(
    transport: SmtpTransport, provider_for: ProviderFor, tmp_path: Path, content: bytes, in_file: bool
) -> None:
    wire = stuff(content)
    body = file_of(wire, tmp_path) if in_file else body_of(wire)
    async with ScriptedUpstream() as upstream:
        await wire_of(transport, provider_for(upstream), body)
        [received] = upstream.received
    assert received.wire == PREFIX + wire
    whole = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
    assert unstuff(received.wire).removeprefix(PREFIX) == whole
    assert received.mail.endswith(b" SIZE=%d" % len(received.wire))


async def test_large_files_keep_their_order_among_small_ones(
    transport: SmtpTransport, provider_for: ProviderFor, tmp_path: Path
) -> None:
    large = HEAD + b"".join(b"%07d\r\n" % number for number in range(100_000))
    async with ScriptedUpstream() as upstream:
        provider = provider_for(upstream)
        bodies = [body_of(), file_of(large, tmp_path), body_of()]
        await asyncio.gather(*(wire_of(transport, provider, body) for body in bodies))
        small = len(body_of().data or b"")
        assert [len(received.wire) - len(PREFIX) for received in upstream.received] == [small, len(large), small]
        assert upstream.received[1].wire == PREFIX + large
        assert upstream.counts.connections == 1


@pytest.mark.parametrize("in_file", [False, True])
async def test_rewriting_changes_the_header_and_nothing_else(
    transport: SmtpTransport, provider_for: ProviderFor, tmp_path: Path, in_file: bool
) -> None:
    text = b"".join(b"%07d\r\n" % number for number in range(50_000))
    wire = HEAD + text
    change = Rewrite(header_from="Billing <billing@example.com>", reply_to="help@example.com")
    async with ScriptedUpstream() as upstream:
        await wire_of(transport, provider_for(upstream), file_of(wire, tmp_path) if in_file else body_of(wire), change)
        [received] = upstream.received
    head, blank, rest = received.wire.partition(b"\r\n\r\n")
    assert blank and rest == text
    assert b"\r\nFrom: Billing <billing@example.com>" in head
    assert b"Reply-To: help@example.com" in head
    assert b"app@example.com" not in head and head.startswith(PREFIX)
    assert received.mail.endswith(b" SIZE=%d" % len(received.wire))


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize(
    ("route", "ours"),
    [
        (None, [b"From: Shop <shop@example.com>", b"Reply-To: help@example.com"]),
        (Rewrite(header_from="b@example.com"), [b"From: b@example.com", b"Reply-To: help@example.com"]),
        (Rewrite(reply_to="r@example.com"), [b"From: Shop <shop@example.com>", b"Reply-To: r@example.com"]),
    ],
)
async def test_E5_an_identity_changes_the_header_and_a_route_goes_over_it(
    transport: SmtpTransport,
    provider_for: ProviderFor,
    tmp_path: Path,
    in_file: bool,
    route: Rewrite | None,
    ours: list[bytes],
) -> None:
    text = b"".join(b"%07d\r\nX-Relay-Identity: text\r\n" % number for number in range(20_000))
    named = b"X-Relay-Identity: shop\r\nX-A: 1\r\nx-relay-identity:\r\n\tagain\r\n"
    wire = named + HEAD + text
    identity = Rewrite(header_from="Shop <shop@example.com>", reply_to="help@example.com")
    async with ScriptedUpstream() as upstream:
        shipment = shipment_to(provider_for(upstream), rewrite=route)
        shipment = replace(shipment, message=replace(shipment.message, identity=identity))
        [outcome] = await transport.send(shipment, file_of(wire, tmp_path) if in_file else body_of(wire))
        assert outcome.verdict is Verdict.ACCEPTED
        [received] = upstream.received
    head, blank, rest = received.wire.partition(b"\r\n\r\n")
    assert blank and rest == text
    fields = head.removeprefix(PREFIX.removesuffix(b"\r\n")).split(b"\r\n")[1:]
    assert fields == [ours[1], b"X-A: 1", b"Subject: x", ours[0]]
    assert received.mail.endswith(b" SIZE=%d" % len(received.wire))


async def test_an_identity_without_a_name_for_replies_keeps_those_there_are(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    async with ScriptedUpstream() as upstream:
        shipment = shipment_to(provider_for(upstream))
        shipment = replace(shipment, message=replace(shipment.message, identity=Rewrite(header_from="s@example.com")))
        await transport.send(shipment, body_of(b"Reply-To: mine@example.com\r\nFrom: a@b\r\n\r\nx\r\n"))
        [received] = upstream.received
    assert received.wire == PREFIX + b"Reply-To: mine@example.com\r\nFrom: s@example.com\r\n\r\nx\r\n"


async def test_a_header_too_long_to_rewrite_is_refused_not_sent_as_it_is(
    transport: SmtpTransport, provider_for: ProviderFor, tmp_path: Path
) -> None:
    body = file_of(b"X: y\r\n" * 100_000, tmp_path)
    async with ScriptedUpstream() as upstream:
        shipment = shipment_to(provider_for(upstream), rewrite=Rewrite(header_from="a@example.com"))
        [outcome] = await transport.send(shipment, body)
    assert (outcome.verdict, outcome.fault, outcome.reply.enhanced) == (Verdict.REJECTED, Fault.MESSAGE, "5.6.0")
    assert upstream.counts.connections == 0


@pytest.mark.parametrize("kept", [0, 300_000])
async def test_a_file_that_lost_its_end_never_gets_its_dot(
    transport: SmtpTransport, provider_for: ProviderFor, tmp_path: Path, kept: int
) -> None:
    wire = HEAD + b"1234567\r\n" * 50_000
    body = file_of(wire, tmp_path)
    (tmp_path / "body").write_bytes(wire[:kept])
    async with ScriptedUpstream() as upstream:
        provider = provider_for(upstream)
        [outcome] = await transport.send(shipment_to(provider), body)
        assert (outcome.verdict, outcome.fault, outcome.phase) == (Verdict.DEFERRED, Fault.MESSAGE, Phase.BODY)
        assert "missing" in outcome.reply.text
        await upstream.until_closed()
        assert upstream.received == []
        await wire_of(transport, provider, body_of())


@pytest.mark.parametrize("rewrite", [None, Rewrite(header_from="a@example.com")])
async def test_a_file_that_is_gone_is_nobodys_fault_but_ours(
    transport: SmtpTransport, provider_for: ProviderFor, tmp_path: Path, rewrite: Rewrite | None
) -> None:
    async with ScriptedUpstream() as upstream:
        shipment = shipment_to(provider_for(upstream), rewrite=rewrite)
        [outcome] = await transport.send(shipment, Body(size=10, path=tmp_path / "gone"))
        assert (outcome.verdict, outcome.fault, outcome.reply.code) == (Verdict.DEFERRED, Fault.MESSAGE, 451)


class Unread(asyncio.Protocol):
    """An upstream that says 354 and then reads nothing more: a zero window."""

    made: ClassVar[list[Unread]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made.append(self)
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.transport.write(b"220 hello\r\n")

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"EHLO"):
            self.transport.write(b"250-hello\r\n250 PIPELINING\r\n")
        elif data.startswith(b"MAIL"):
            self.transport.write(b"250 a\r\n250 b\r\n354 c\r\n")
            self.transport.pause_reading()


async def test_a_large_body_waits_for_the_upstream_and_memory_does_not_grow(
    transport: SmtpTransport, tmp_path: Path
) -> None:
    body = file_of(HEAD + b"1234567\r\n" * 3_000_000, tmp_path)
    server = await asyncio.get_running_loop().create_server(Unread, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    quick = Timeouts(connect=1.0, command=1.0, data=0.2)
    provider = Provider(name="p", host="127.0.0.1", port=port, tls=Tls.NONE, timeouts=quick)
    tracemalloc.start()
    [outcome] = await transport.send(shipment_to(provider), body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    server.close()
    Unread.made.pop().transport.abort()
    assert (outcome.verdict, outcome.fault, outcome.phase) == (Verdict.DEFERRED, Fault.PROVIDER, Phase.BODY)
    assert "did not answer within 0.2 s" in outcome.reply.text
    assert body.size > 25_000_000 > 10 * peak
