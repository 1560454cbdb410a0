"""Every named action as a client sees it: which bytes come, and when the connection ends."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable

import pytest
from talking import LETTER, REPLIES, SPEECH, before, talk

from relay.testing.upstream import ACTIONS, PHASES, Close, Raw, Say, Script, ScriptedUpstream, Stall

OFFERED = {"offers": (), "auth": ("PLAIN",)}
FAST = {"slow": 0.05, "too_slow": 0.1, "drip": 0.001, "idle": 0.02, **OFFERED}
AT = ("banner", "ehlo", "auth", "mail", "rcpt", "later-rcpt", "data", "dot", "rset", "quit")
TLS_PHASES = ("starttls", "handshake", "ehlo-again")

Said = Callable[[bytes], bytes]

SAID: dict[str, tuple[Said, str]] = {
    "421": (lambda usual: rb"421 [^\r]*\r\n$", "fin"),
    "4xx": (lambda usual: rb"4[15]\d 4\.\d\.\d [^\r]*\r\n", "fin"),
    "5xx": (lambda usual: rb"5\d\d 5\.\d\.\d [^\r]*\r\n", "fin"),
    "521": (lambda usual: rb"521 [^\r]*\r\n$", "fin"),
    "malformed-code": (lambda usual: rb"2x0 scripted\r\n", "fin"),
    "wrong-class": (lambda usual: (rb"250" if usual[:3] == b"354" else rb"354") + rb" [^\r]*\r\n", "fin"),
    "endless-multiline": (lambda usual: rb"(%s-scripted\r\n){1000}" % usual[:3], "open"),
    "long-line": (lambda usual: rb"%s x{1000000}\r\n" % usual[:3], "fin"),
    "half-reply": (lambda usual: re.escape(usual[: len(usual) // 2]) + b"$", "open"),
    "extra-reply": (lambda usual: re.escape(usual) + rb"250 2\.0\.0 scripted: unasked\r\n", "fin"),
    "nul-8bit": (lambda usual: rb"%s scripted \0 \xff\xfe\r\n" % usual[:3], "fin"),
    "slow": (lambda usual: re.escape(usual), "fin"),
    "too-slow": (lambda usual: re.escape(usual), "fin"),
    "drip": (lambda usual: re.escape(usual), "fin"),
    "fin": (lambda usual: b"$", "fin"),
    "rst": (lambda usual: b"$", "rst"),
    "half-close": (lambda usual: b"$", "fin"),
    "silence": (lambda usual: b"$", "open"),
    "zero-window": (lambda usual: b"$", "open"),
    "vanish": (lambda usual: b"$", "rst"),
    "tls-alert": (lambda usual: rb"\x15\x03\x03\x00\x02\x02\x28$", "fin"),
    "twice": (lambda usual: re.escape(usual) * 2, "fin"),
    "slow-close": (lambda usual: re.escape(usual) + b"$", "fin"),
}

LEAST = {"half-reply": 5, "endless-multiline": 20_000}  # bytes that come before it is silent, or never is
UNGRANTED = ("4xx", "5xx", "malformed-code", "wrong-class")


@pytest.mark.parametrize("phase", AT)
async def test_each_action_where_a_reply_is_due(phase: str) -> None:
    assert set(SAID) == set(ACTIONS) - {"early-reply"}

    async def check(action: str) -> None:
        async with ScriptedUpstream(Script({phase: action}, **FAST)) as upstream:
            said, ending = SAID[action]
            stays = ending == "open" or (phase == "quit" and action in UNGRANTED)
            least = len(before(phase)) + LEAST.get(action, 0) if stays else None
            heard, end = await talk(upstream, least=least, most=1_050_000)
            rest = heard.removeprefix(before(phase))
            assert heard.startswith(before(phase)), (action, heard)
            assert re.match(said(REPLIES[phase]), rest), (action, rest[:200])
            # Whoever closes with commands unread resets. A refused QUIT ends nothing.
            ends = {"open"} if stays else {"fin", "rst"} if ending == "fin" else {ending}
            assert end in ends, (action, end)
            await upstream.until_closed()

    await asyncio.gather(*map(check, SAID))


MOMENTS: dict[str, tuple[str, bytes]] = {
    # action: what is said at "after", unasked, behind the reply to the dot
    "421": ("fin", b"421 "),
    "4xx": ("fin", b"451 "),
    "malformed-code": ("fin", b"2x0 "),
    "extra-reply": ("fin", b"250 2.0.0 scripted: unasked\r\n"),
    "twice": ("fin", REPLIES["dot"]),
    "early-reply": ("fin", REPLIES["mail"]),
    "half-reply": ("open", b"250 2.0.0 "),
    "silence": ("open", b""),
    "slow": ("fin", REPLIES["rset"]),
}


@pytest.mark.parametrize("action", MOMENTS)
async def test_at_a_moment_what_is_said_is_unasked(action: str) -> None:
    ending, said = MOMENTS[action]
    async with ScriptedUpstream(Script({"after": action}, **FAST)) as upstream:
        heard, end = await talk(upstream, least=len(before("rset") + said) if ending == "open" else None)
    assert heard.startswith(before("rset") + said), heard
    assert (end == "open") == (ending == "open")


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("5xx", rb"554 [^\r]*\r\n$"),
        ("early-reply", rb"220 scripted ESMTP\r\n220 scripted ESMTP\r\n250"),
        ("wrong-class", rb"354 scripted\r\n220 scripted ESMTP\r\n250"),
        ("slow", rb"220 scripted ESMTP\r\n250"),
        ("fin", b"$"),
    ],
)
async def test_before_the_greeting(action: str, said: bytes) -> None:
    async with ScriptedUpstream(Script({"connect": action}, **FAST)) as upstream:
        heard, _ = await talk(upstream)
    assert re.match(said, heard)


@pytest.mark.parametrize(
    ("phase", "follows"),
    [("ehlo", "banner"), ("auth", "ehlo"), ("mail", "auth"), ("rcpt", "mail"), ("dot", "data"), ("quit", "dot")],
)
async def test_an_early_reply_stands_behind_the_one_before_and_is_not_repeated(phase: str, follows: str) -> None:
    async with ScriptedUpstream(Script(connections=[{phase: ["early-reply"]}], **FAST)) as upstream:
        heard, end = await talk(upstream)
        usual = [*REPLIES]
        usual.remove(phase)
        usual.insert(usual.index(follows) + 1, phase)
        assert (heard, end) == (b"".join(REPLIES[name] for name in usual), "fin")
        assert [mail.answered for mail in upstream.received] == [None if phase == "dot" else "250 2.0.0 ok: queued"]


async def test_an_early_reply_really_comes_before_its_command() -> None:
    async with ScriptedUpstream(Script({"mail": "early-reply", "dot": "early-reply"}, **FAST)) as upstream:
        heard, _ = await talk(upstream, b"EHLO x\r\nAUTH PLAIN AGEAYg==\r\n", least=len(before("rcpt")))
        assert heard == before("rcpt")
        heard, _ = await talk(upstream, SPEECH.partition(LETTER)[0], least=len(before("rset")))
        assert heard == before("rset")


async def test_what_is_said_while_the_body_comes_stands_for_the_reply_to_it() -> None:
    async with ScriptedUpstream(Script(connections=[{"body": "4xx"}, {"body": "early-reply"}], **FAST)) as upstream:
        for code, answered in ((b"451 ", "451 4.3.0 scripted: not now"), (b"250 ", None)):
            heard, _ = await talk(upstream)
            assert heard.startswith(before("dot") + code)
            assert heard.endswith(b"\r\n" + REPLIES["rset"] + REPLIES["quit"])
            assert heard.count(b"\r\n") == sum(reply.count(b"\r\n") for reply in REPLIES.values())
            assert upstream.received[-1].answered == answered


@pytest.mark.parametrize(("place", "enough"), [("body@50%", 16), ("body@30", 30), ("body", 1), ("body@999", 40)])
async def test_a_place_in_the_body(place: str, enough: int) -> None:
    """Of 33 bytes as declared; the end of the body is the last place there is."""
    head, _, _ = SPEECH.partition(LETTER)
    async with ScriptedUpstream(Script({place: "fin"}, **FAST)) as upstream:
        body = LETTER + b".\r\n"
        if enough > 1:
            short = body[: min(enough - 1, len(body) - 1)]
            assert await talk(upstream, head + short, least=len(before("dot"))) == (before("dot"), "open")
        assert (await talk(upstream, head + body[:enough]))[1] in ("fin", "rst")
        assert upstream.received == []


async def test_idle_is_after_a_transaction_only() -> None:
    script = Script(connections=[{"idle": "421"}] * 2, idle=0.01, offers=(), auth=("PLAIN",))
    async with ScriptedUpstream(script) as upstream:
        assert await talk(upstream, SPEECH[: SPEECH.index(b"DATA")], least=len(before("data"))) == (
            before("data"),
            "open",
        )
        heard, end = await talk(upstream, SPEECH[: SPEECH.index(b"RSET")])
        assert heard == before("rset") + b"421 4.3.2 scripted: closing\r\n"
        assert end == "fin"


async def test_a_command_that_vanished_took_effect_and_one_that_was_cut_did_not() -> None:
    script = Script({"dot": [Close(), "vanish", "421", "5xx", "half-reply", Raw(b"250 mine\r\n", granted=True)]})
    async with ScriptedUpstream(script) as upstream:
        for turn in range(1, 7):
            await talk(upstream, least=0)
            await upstream.until(lambda seen, turn=turn: seen.counts.dots == turn)
        refused = ["421 4.3.2 scripted: closing", "554 5.6.0 scripted: not this message"]
        assert [mail.answered for mail in upstream.received] == [None, None, *refused, None, "250 mine"]
        assert [mail.taken for mail in upstream.received] == [True, True, False, False, True, True]
        assert upstream.counts.dots == 6 and upstream.counts.taken == 4


@pytest.mark.parametrize("some", [0, 1, 2])
async def test_every_combination_ends_when_the_client_does(some: int) -> None:
    async def check(phase: str, action: str) -> None:
        script = Script(connections=[{phase: action}], **FAST)
        async with ScriptedUpstream(script) as upstream:
            await talk(upstream, least=0, most=100_000)
            await asyncio.wait_for(upstream.until_closed(), 20)
            heard, end = await talk(upstream)  # all is as usual after the last scripted connection
            assert (heard, end) == (before("quit") + REPLIES["quit"], "fin"), (phase, action, heard)

    phases = [phase for phase in PHASES if phase not in TLS_PHASES][some::3]
    await asyncio.gather(*(check(phase, action) for phase in phases for action in ACTIONS))


async def test_objects_say_exactly_what_they_hold() -> None:
    script = {"mail": [Say(451, "4.0.0 a\nb"), Raw(b"\0", pause=0.001), Close(b"599 c", reset=True), Stall()]}
    async with ScriptedUpstream(script, offers=()) as upstream:
        hello = REPLIES["banner"] + b"250 scripted\r\n"
        for said, end in [(b"451-4.0.0 a\r\n451 b\r\n", "open"), (b"\0", "open"), (b"599 c", "rst"), (b"", "open")]:
            speech = b"EHLO x\r\nMAIL FROM:<a@b>\r\n"
            least = len(hello + said) if end == "open" else None
            assert await talk(upstream, speech, least=least) == (hello + said, end)


async def test_a_zero_window_takes_next_to_nothing() -> None:
    head, _, _ = SPEECH.partition(LETTER)
    async with ScriptedUpstream(Script({"body": "zero-window"}, **FAST)) as upstream:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sock.setblocking(False)
            await loop.sock_connect(sock, (upstream.host, upstream.port))
            await loop.sock_sendall(sock, head + b"x")
            await upstream.until(lambda seen: seen.counts.phases["body"] == 1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.sock_sendall(sock, b"x" * 200_000), 0.3)
            assert upstream.counts.open == 1
        await upstream.until_closed()
