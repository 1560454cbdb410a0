"""Several messages in flight by BDAT: their bytes, their round trips, and what becomes of them when it breaks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop

from relay.model import Body, DeliveryOutcome, Limits, Phase, Provider, Timeouts, Tls, Verdict
from relay.smtp.data import stuff
from relay.testing.mail import PREFIX, body_of, shipment_to
from relay.testing.upstream import OFFERS, Close, Raw, Say, ScriptedUpstream, Stall
from relay.upstream.smtp import SmtpTransport

Authority = Any  # conftest.Authority
ProviderFor = Callable[..., Provider]
CHUNKING = (*OFFERS, "CHUNKING")
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
WARM = 4
"""Messages until a connection is surely open to several in flight: one by DATA, one that asks."""

QUICK, ONE = Timeouts(connect=1.0, command=0.3, data=0.3), Limits(connections=1)
ACCEPTED = ("accepted", "none", "dot")
UNCERTAIN = ("deferred", "uncertain", "dot")


async def sent(
    transport: SmtpTransport, provider: Provider, *recipients: str, body: Body | None = None
) -> list[DeliveryOutcome]:
    return list(await transport.send(shipment_to(provider, *recipients), body or body_of()))


async def fate(transport: SmtpTransport, provider: Provider, body: Body | None = None) -> tuple[str, str, str]:
    [outcome] = await sent(transport, provider, body=body)
    return outcome.verdict.value, outcome.fault.value, outcome.phase.value


async def warm(transport: SmtpTransport, provider: Provider) -> None:
    for _ in range(WARM):
        assert await fate(transport, provider) == ACCEPTED


def bdats(upstream: ScriptedUpstream) -> list[bytes]:
    return [line for line in upstream.commands if line.startswith(b"BDAT")]


@dataclass
class Warm:
    """A connection that has several in flight. `on` holds what happens to later phases, by turn of that phase."""

    upstream: ScriptedUpstream
    transport: SmtpTransport
    provider: Provider


@pytest.fixture
async def warmed(
    transport: SmtpTransport, provider_for: ProviderFor, request: pytest.FixtureRequest
) -> AsyncIterator[Warm]:
    turns = {"rset": WARM - 1, "data": WARM + 1}  # the first message has no RSET, the second one two chunks
    scripted = {phase: [None] * turns.get(phase, WARM) + [action] for phase, action in request.param.items()}
    async with ScriptedUpstream(scripted, offers=CHUNKING) as upstream:
        provider = provider_for(upstream, timeouts=QUICK)
        await warm(transport, provider)
        yield Warm(upstream, transport, provider)


def scripted(**phases: Any) -> Any:
    return pytest.mark.parametrize("warmed", [phases], indirect=True, ids=[" ".join(phases) or "usual"])


# Speed.


@LOOPS
@pytest.mark.parametrize("tls", ["none", "starttls", "implicit"])
def test_four_messages_are_one_round_trip(
    loop: Callable[[], asyncio.AbstractEventLoop], tls: str, authority: Authority, provider_for: ProviderFor
) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream(tls=tls, context=authority.context(), offers=CHUNKING) as upstream:
            transport = SmtpTransport("relay.example")
            provider = provider_for(upstream, ca_file=authority.ca_file)
            await warm(transport, provider)
            before = upstream.counts.turns
            results = await asyncio.gather(*(fate(transport, provider) for _ in range(40)))
            assert results == [ACCEPTED] * 40
            assert upstream.counts.turns - before == 10
            assert upstream.counts.connections == 1
            assert (await sent(transport, provider))[0].abreast == 4
            assert [mail.content for mail in upstream.received] == [PREFIX + (body_of().data or b"")] * (41 + WARM)
            await transport.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("changes", [{"pipelining": "off"}, {}])
async def test_without_pipelining_or_the_offer_nothing_changes(
    transport: SmtpTransport, provider_for: ProviderFor, changes: dict[str, str]
) -> None:
    async with ScriptedUpstream(offers=CHUNKING if changes else OFFERS) as upstream:
        await warm(transport, provider_for(upstream, **changes))
        await asyncio.gather(*(fate(transport, provider_for(upstream, **changes)) for _ in range(8)))
        assert (await sent(transport, provider_for(upstream, **changes)))[0].abreast == 2
        assert bdats(upstream) == [] and upstream.counts.phases["rset"] == 0


# Bytes.


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b".\r\n", b"..\r\n.\r\n...\r\n", b".x\r\n", b"Subject: x\r\n\r\n.\r\n..\r\n.x\r\n."),
        *(b"\r\n\r\n", b"\xff\0\r\n", b"x" * 65_000 + b"\r\n.\r\n"),
        b"a\r\n.\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<evil@x>\r\nDATA\r\n.\r\n",
    ],
)
@scripted()
async def test_A2_E5_bodies_arrive_byte_for_byte(warmed: Warm, content: bytes) -> None:
    wire = stuff(content)
    fates = await asyncio.gather(*(fate(warmed.transport, warmed.provider, body_of(wire)) for _ in range(5)))
    assert fates == [ACCEPTED] * 5
    whole = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
    for mail in warmed.upstream.received[WARM:]:
        assert mail.chunked and mail.content == PREFIX + whole
        assert mail.mail == b"MAIL FROM:<a@example.com> SIZE=%d" % len(PREFIX + wire)
    assert bdats(warmed.upstream)[-1] == b"BDAT %d LAST" % len(PREFIX + whole)


async def test_A2_the_first_line_and_the_rest_are_the_message(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    content = b"..\r\nMAIL FROM:<evil@x>\r\n.\r\n"
    async with ScriptedUpstream(offers=CHUNKING) as upstream:
        provider = provider_for(upstream)
        for _ in range(3):
            assert await fate(transport, provider, body_of(stuff(content))) == ACCEPTED
        assert [mail.content for mail in upstream.received] == [PREFIX + content] * 3
        assert [mail.chunked for mail in upstream.received] == [False, True, True]
        line = PREFIX.index(b"\n") + 1
        assert bdats(upstream)[:2] == [b"BDAT %d" % line, b"BDAT %d LAST" % (len(PREFIX + content) - line)]


@scripted()
async def test_large_bodies_and_several_recipients_go_by_data_among_the_others(warmed: Warm, tmp_path: Path) -> None:
    large = b"Subject: x\r\n\r\n" + b"..dots\r\n" * 20_000
    path = tmp_path / "body"
    path.write_bytes(large)
    before = len(bdats(warmed.upstream))
    results = await asyncio.gather(
        sent(warmed.transport, warmed.provider),
        sent(warmed.transport, warmed.provider, body=body_of(large)),
        sent(warmed.transport, warmed.provider, body=Body(size=len(large), path=path)),
        sent(warmed.transport, warmed.provider, "b@x", "c@x"),
        sent(warmed.transport, warmed.provider),
    )
    assert {outcome.verdict for result in results for outcome in result} == {Verdict.ACCEPTED}
    mails = warmed.upstream.received[WARM:]
    assert [mail.chunked for mail in mails] == [True, False, False, False, True]
    assert [mail.content.count(b"\r\n.dots") for mail in mails] == [0, 20_000, 20_000, 0, 0]
    assert (len(bdats(warmed.upstream)) - before, warmed.upstream.counts.connections) == (2, 1)


# Refusals.


@scripted(rcpt=Say(550, "5.1.1 unknown"))
async def test_F3_a_refused_recipient_costs_the_others_nothing(warmed: Warm) -> None:
    fates = await asyncio.gather(*(fate(warmed.transport, warmed.provider) for _ in range(4)))
    assert fates == [("rejected", "recipient", "rcpt"), *[ACCEPTED] * 3]
    assert (len(warmed.upstream.received), warmed.upstream.counts.connections) == (WARM + 3, 1)


@scripted(mail=Say(451, "4.3.0 not now"))
async def test_F3_a_refused_sender_costs_the_others_nothing(warmed: Warm) -> None:
    fates = await asyncio.gather(*(fate(warmed.transport, warmed.provider) for _ in range(4)))
    assert fates[0][0::2] == ("deferred", "mail") and fates[1:] == [ACCEPTED] * 3


@pytest.mark.parametrize("warmed", [{"dot": Say(554, "5.7.1 spam")}, {"data": Say(554, "5.7.1 spam")}], indirect=True)
async def test_F3_refused_content_costs_the_others_nothing(warmed: Warm) -> None:
    fates = await asyncio.gather(*(fate(warmed.transport, warmed.provider) for _ in range(4)))
    assert fates[0][0::2] == ("rejected", "dot") and fates[1:] == [ACCEPTED] * 3
    assert warmed.upstream.counts.connections == 1


# The end of a connection.


@pytest.mark.parametrize(
    "warmed", [{"dot": action} for action in (Close(), Close(reset=True), Stall(), Raw(b"25"))], indirect=True
)
async def test_F2_all_that_were_handed_over_are_uncertain(warmed: Warm) -> None:
    fates = await asyncio.gather(*(fate(warmed.transport, warmed.provider) for _ in range(6)))
    assert fates == [*[UNCERTAIN] * 4, *[ACCEPTED] * 2]


@scripted(dot=Close(b"421 4.3.2 closing\r\n"))
async def test_F1_421_is_a_retry_and_those_behind_go_again_at_once(warmed: Warm) -> None:
    fates = await asyncio.gather(*(fate(warmed.transport, warmed.provider) for _ in range(4)))
    assert fates == [("deferred", "provider", "dot"), *[ACCEPTED] * 3]
    assert (warmed.upstream.counts.taken, warmed.upstream.counts.connections) == (WARM + 3, 2)


class Unread(asyncio.Protocol):
    """An upstream that takes what a connection begins with, and then reads nothing more: a zero window."""

    def __init__(self, script: list[bytes], heard: list[bytes]) -> None:
        self.script = script
        self.heard = heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.transport.write(b"220 hello\r\n")

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)
        if self.script:
            self.transport.write(self.script.pop(0))
        if not self.script:
            self.transport.pause_reading()


@asynccontextmanager
async def unread(*scripts: list[bytes]) -> AsyncIterator[tuple[Provider, list[bytes]]]:
    """One script for each connection; later ones are not even greeted. With all that was heard."""
    left, made, heard = list(scripts), list[Unread](), list[bytes]()

    def make() -> Unread:
        made.append(Unread(left.pop(0) if left else [], heard))
        return made[-1]

    sock = socket.create_server(("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    server = await asyncio.get_running_loop().create_server(make, sock=sock)
    port = sock.getsockname()[1]
    yield Provider(name="p", host="127.0.0.1", port=port, tls=Tls.NONE, timeouts=QUICK, limits=ONE), heard
    server.close()
    for each in made:
        each.transport.abort()
    await asyncio.sleep(0)


def lying(after: list[bytes]) -> list[bytes]:
    """EHLO, one message by DATA, the question and its rest; then as given."""
    envelope = b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n"
    ehlo = b"250-hello\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
    return [ehlo, envelope + b"354 go\r\n", b"250 2.0.0 taken\r\n", envelope + after[0], *after[1:]]


@LOOPS
def test_F2_what_the_socket_never_took_is_certainly_lost(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """It goes again on another connection; that says nothing, so it is put off, and nothing is uncertain."""

    async def scenario() -> None:
        script = lying([b"250 2.0.0 so far\r\n", b"250 2.0.0 taken\r\n250 2.0.0 Ok\r\n"])
        async with unread(script) as (provider, _):
            transport = SmtpTransport("relay.example")
            for _ in range(2):
                assert await fate(transport, provider) == ACCEPTED
            [conversation] = transport._pool(provider)._open
            mine = conversation._transport.get_extra_info("socket")
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
            body = body_of(b"x" * 60_000 + b"\r\n")
            fates = await asyncio.gather(*(fate(transport, provider, body) for _ in range(4)))
            assert {each[:2] for each in fates} == {("deferred", "provider")}
            await transport.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("reply", [b"502 5.5.1 what?\r\n500 5.5.1 what?\r\n", b"500 what?\r\n", b"503 5.5.1 no\r\n"])
async def test_who_offers_bdat_and_does_not_know_it_gets_data(transport: SmtpTransport, reply: bytes) -> None:
    envelope = b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 go\r\n"
    by_data = [lying([b""])[0], *[envelope, b"250 2.0.0 taken\r\n"] * 6]
    async with unread(lying([reply]), by_data) as (provider, heard):
        for _ in range(5):
            assert await fate(transport, provider) == ACCEPTED
        await transport.close()
    [asked] = [data for data in heard if b"BDAT" in data]
    assert asked.endswith(PREFIX[: PREFIX.index(b"\n") + 1]), "no more than a line of what is no command"


# F6.


@pytest.mark.parametrize(
    "warmed",
    [
        {"mail": Raw(b"250 2.1.0 ok\r\n250 2.1.0 ok\r\n", granted=True)},
        {"rcpt": Raw(b"250 2.1.5 ok\r\n250 2.1.5 ok\r\n", granted=True)},
        {"rcpt": Raw(b"550 5.1.1 no\r\n550 5.1.1 no\r\n")},
        {"after": Raw(b"250 2.0.0 again\r\n")},
        {"after": Raw(b"550 5.4.2 late\r\n")},
        {"rset": Raw(b"250 2.0.0 ok\r\n250 2.0.0 ok\r\n", granted=True)},
    ],
    indirect=True,
)
async def test_F6_one_reply_too_many_rejects_nothing_and_takes_nothing_for_taken(warmed: Warm) -> None:
    results = await asyncio.gather(*(sent(warmed.transport, warmed.provider, f"{n}@x") for n in range(4)))
    taken = {mail.recipients[0] for mail in warmed.upstream.received[WARM:] if mail.taken}
    for [outcome] in results:
        if outcome.verdict is Verdict.ACCEPTED:
            assert outcome.recipient.address in taken
        assert outcome.verdict is not Verdict.REJECTED
    before = len(bdats(warmed.upstream))
    for _ in range(6):
        assert await fate(warmed.transport, warmed.provider) == ACCEPTED
    assert len(bdats(warmed.upstream)) == before, "it goes by DATA from then on"


@scripted()
async def test_after_a_rest_no_body_is_sent_before_an_answer(warmed: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was idle for longer may have been given up: with DATA that costs nothing."""
    before = len(bdats(warmed.upstream))
    [conversation] = warmed.transport._pool(warmed.provider)._idle
    conversation._heard_at -= 2.0
    assert await fate(warmed.transport, warmed.provider) == ACCEPTED
    assert len(bdats(warmed.upstream)) == before
    assert await fate(warmed.transport, warmed.provider) == ACCEPTED
    assert len(bdats(warmed.upstream)) == before + 1


@scripted(dot=Stall())
async def test_close_leaves_nobody_waiting(warmed: Warm) -> None:
    sends = [asyncio.create_task(fate(warmed.transport, warmed.provider)) for _ in range(6)]
    await warmed.upstream.until(lambda seen: seen.counts.phases["dot"] == WARM + 1)
    await warmed.transport.close()
    assert [await send for send in sends] == [*[UNCERTAIN] * 4, *[("deferred", "provider", Phase.CONNECT.value)] * 2]
