"""The SMTP dialogue of one connection of a scripted upstream: as usual, and as its script says.

The server starts one for each connection. It answers all that is complete, then flushes, as pipelining servers do, and
checks nothing that a client may do wrong but the order of commands.
"""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from relay.testing.upstream import actions
from relay.testing.upstream.actions import REPLIES, USUAL, Action, Deed, Do, Say, Scene
from relay.testing.upstream.performer import Performer
from relay.testing.upstream.received import Received, address
from relay.testing.upstream.script import Plan
from relay.testing.upstream.wire import Over, Wire

if TYPE_CHECKING:
    from relay.testing.upstream.server import ScriptedUpstream

_QUESTIONS = {b"PLAIN": 1, b"LOGIN": 2, b"CRAM-MD5": 1}
_EARLY = "early-reply"
CHUNK = b"250 2.0.0 ok: so far\r\n"

# After which phase the reply to which next one may come early; "refused": a DATA that was.
_FOLLOWERS = {
    "banner": ("ehlo",),
    "auth": ("mail",),
    "mail": ("rcpt",),
    "rcpt": ("later-rcpt", "data"),
    "data": ("dot",),
    "dot": ("mail", "rset", "quit"),
    "refused": ("rset",),
}


class Session(Performer):
    """`plan`: this connection's own script, which goes before the one over all connections."""

    def __init__(self, upstream: ScriptedUpstream, wire: Wire, number: int, plan: Plan) -> None:
        super().__init__(wire)
        self._up = upstream
        self._number = number
        self._plan = plan
        self._secure = False
        self._finished = 0  # transactions
        self._eager = any(_is_early(each) for each in (*plan.actions(), *upstream.plan.actions()))
        self._last: Deed | None = None  # what was said while the body came: the reply to it
        self._chunks = b""  # what came by BDAT so far
        self._chunk_reply: bytes | None = None  # to the BDAT at hand: the phase "data"
        self._mail = b""
        self._rcpt: list[bytes] = []
        self._rcpts = 0

    async def run(self) -> None:
        try:
            await self._talk()
        except (Over, OSError):  # closed below, after what was said has been sent
            await self._last_words()
        finally:
            self._wire.close()

    async def _last_words(self) -> None:
        try:
            await self._flush()
        except (Over, OSError):
            return

    async def _talk(self) -> None:
        await self._do("connect")
        if self._up.implicit:
            await self._encrypt()
        await self._do("banner")
        self._ahead("banner")
        while True:
            line = await self._line()
            self._up.heard(line)
            handler = _COMMANDS.get(line[:4].upper())
            if handler is None:
                self._out += Say(500, "5.5.2 what?").wire
            else:
                await handler(self, line)

    # Commands

    async def _hello(self, line: bytes) -> None:
        phase = self._hello_phase
        if await self._do(phase):
            self._ahead(phase)

    @property
    def _hello_phase(self) -> str:
        return "ehlo-again" if self._secure and not self._up.implicit else "ehlo"

    @property
    def _may_encrypt(self) -> bool:
        return self._up.tls == "starttls" and not self._secure

    def _usual(self, phase: str) -> bytes:
        """The reply that is usual now."""
        if phase == "data" and self._chunk_reply is not None:
            return self._chunk_reply
        if phase not in ("ehlo", "ehlo-again"):
            return REPLIES.get(phase, b"")
        offers = [*self._up.offers, *(["STARTTLS"] if self._may_encrypt else [])]
        if self._up.auth:
            offers.append("AUTH " + " ".join(self._up.auth))
        return Say(250, "\n".join(["scripted", *offers])).wire

    async def _starttls(self, line: bytes) -> None:
        self._wire.hold()
        granted = await self._do("starttls")
        await self._flush()
        if granted and self._up.context is not None:
            await self._encrypt()
            if self._is_early("ehlo-again"):
                self._say_ahead("ehlo-again")

    async def _encrypt(self) -> None:
        """The phase "handshake": the handshake itself is among what is usual there."""
        await self._flush()
        action = self._action("handshake")
        if action is not None:
            # Sooner, what is said might come with the 220, which clients forget when they encrypt (RFC 3207 4.2).
            await self._wire.spoken_to()
        await self._perform("handshake", self._deed("handshake", action))
        if self._up.context is None:
            raise Over
        if not self._secure:
            await self._handshake()

    async def _handshake(self) -> None:
        await self._flush()
        if self._up.context is None or self._secure:
            return
        await self._wire.encrypt(self._up.context)
        self._secure = True
        self._up.event(self._number, b"TLS")

    async def _authenticate(self, line: bytes) -> None:
        words = line.split(b" ")
        self._up.reveal(words[2:])
        action = self._action("auth")
        if action is None or isinstance(action, Do):  # what has a name happens at the end of the exchange
            for _ in range(_QUESTIONS.get(words[1].upper() if words[1:] else b"", 0) - len(words[2:])):
                self._out += Say(334, base64.b64encode(b"<1.2@scripted>").decode()).wire
                self._up.reveal([await self._line()])
        if await self._perform("auth", self._deed("auth", action)):
            self._ahead("auth")

    async def _on_mail(self, line: bytes) -> None:
        if await self._do("mail"):
            self._forget()
            self._mail = line
            self._ahead("mail")

    async def _on_rcpt(self, line: bytes) -> None:
        if not self._mail:
            self._out += Say(503, "5.5.1 MAIL first").wire
            return
        phase = "later-rcpt" if self._rcpts else "rcpt"
        self._rcpts += 1
        action = self._action(phase) or self._recipient(line)
        if await self._perform(phase, self._deed(phase, action)):
            self._rcpt.append(line)
        self._ahead(phase)

    def _recipient(self, line: bytes) -> Action | None:
        """What the script says of this address, whatever the turn."""
        if not self._up.recipients:
            return None
        to = address(line)
        return next((what for glob, what in self._up.recipients.items() if fnmatch.fnmatchcase(to, glob)), None)

    async def _on_data(self, line: bytes) -> None:
        if not self._rcpt and "data" not in self._plan and "data" not in self._up.plan:
            self._out += Say(503 if not self._mail else 554, "5.5.1 no valid recipients").wire
            self._ahead("refused")
        elif await self._do("data"):
            self._ahead("data")
            await self._body()
        else:
            self._ahead("refused")

    async def _body(self) -> None:
        buffer, start, threshold = self._wire.buffer, 0, self._threshold()
        waiting = True
        if not buffer:
            await self._more()
        while True:
            end = 0 if buffer.startswith(b".\r\n") else buffer.find(b"\r\n.\r\n", start)
            if waiting and (end >= 0 or len(buffer) >= threshold):
                waiting = False
                await self._during("body")
                continue
            if end >= 0:
                break
            start = max(0, len(buffer) - 4)
            await self._more()
        wire = bytes(buffer[: end + 2]) if end or not buffer.startswith(b".\r\n") else b""
        del buffer[: len(wire) + 3]
        await self._dot(wire)

    async def _on_bdat(self, line: bytes) -> None:
        """RFC 3030 2: whatever is answered, the octets are read first."""
        words = line.split()
        size, last = int(words[1]), words[2:] == [b"LAST"]
        if not self._rcpt:
            await self._octets(size)
            self._out += Say(503 if not self._mail else 554, "5.5.1 no valid recipients").wire
            self._ahead("refused")
            return
        self._chunk_reply = b"" if last else CHUNK
        if last:
            await self._during("data")
            self._chunks += await self._octets(size, self._threshold())
            await self._dot(self._chunks, chunked=True)
        else:
            chunk = await self._octets(size)
            if await self._do("data"):
                self._chunks += chunk
        self._chunk_reply = None

    async def _octets(self, size: int, threshold: int | None = None) -> bytes:
        """`threshold`: how many of them until the phase "body" is there, None: nothing happens meanwhile."""
        buffer = self._wire.buffer
        while len(buffer) < size:
            if threshold is not None and len(buffer) >= threshold:
                threshold = None
                await self._during("body")
            else:
                await self._more()
        if threshold is not None:
            await self._during("body")
        octets = bytes(buffer[:size])
        del buffer[:size]
        return octets

    def _threshold(self) -> int:
        """Bytes of the body after which the phase "body" is there."""
        at = self._plan.body_at if "body" in self._plan else self._up.plan.body_at
        if not at.endswith("%"):
            return int(at or 0)
        declared = self._mail.upper().partition(b" SIZE=")[2].partition(b" ")[0]
        return (int(declared) if declared.isdigit() else 0) * int(at[:-1]) // 100

    async def _during(self, phase: str) -> None:
        deed = self._decide(phase)
        if deed is USUAL or self._last is not None:
            return
        await self._perform(phase, deed)
        await self._flush()
        self._last = deed if deed.stands else None

    async def _dot(self, wire: bytes, *, chunked: bool = False) -> None:
        """The record is safe before anything is said."""
        deed, said = self._decide("dot"), self._last
        self._last = None
        answered = said.answered if said else deed.answered
        mail = Received(self._mail, tuple(self._rcpt), wire, self._number, answered, time.time(), chunked)
        await self._flush()  # nobody waits for a disk to hear what was said before
        await self._up.take(mail)
        if self._up.script.delay:
            await self._wire.wait(self._up.script.delay)
        if said is None:
            await self._perform("dot", deed)
        self._forget()
        self._finished += 1
        self._ahead("dot")
        await self._do("after")

    async def _on_rset(self, line: bytes) -> None:
        if await self._do("rset"):
            self._forget()

    def _forget(self) -> None:
        self._mail, self._rcpt, self._rcpts, self._chunks = b"", [], 0, b""

    async def _on_quit(self, line: bytes) -> None:
        if await self._do("quit"):
            raise Over

    # Acting

    async def _do(self, phase: str) -> bool:
        """Act as scripted, else as usual. True: the command takes effect."""
        deed = self._decide(phase)
        if deed is not USUAL or self._early:
            return await self._perform(phase, deed)
        self._out += self._usual(phase)
        return True

    def _decide(self, phase: str) -> Deed:
        return self._deed(phase, self._action(phase))

    def _action(self, phase: str) -> Action | None:
        own, general = self._plan.take(phase), self._up.action(phase)
        return own or general

    def _deed(self, phase: str, action: Action | None) -> Deed:
        if action is None:
            return _USUAL_DOT if phase == "dot" else USUAL
        reply = self._usual(phase) or actions.nearest("dot" if phase == "data" else phase)
        script = self._up.script
        own = action.seconds if isinstance(action, Do) else None
        seconds = [each if own is None else own for each in (script.slow, script.too_slow, script.drip)]
        return actions.deed_of(action, Scene(phase, reply, *seconds))

    # Replies ahead of their commands

    def _ahead(self, phase: str) -> None:
        """Say what the script wants said before it is asked for."""
        if self._eager:
            for follower in self._followers(phase):
                if self._is_early(follower):
                    self._say_ahead(follower)

    def _followers(self, phase: str) -> tuple[str, ...]:
        if phase in ("ehlo", "ehlo-again"):
            return ("starttls",) if self._may_encrypt else ("auth",) if self._up.auth else ("mail",)
        return _FOLLOWERS.get(phase, ())

    def _is_early(self, phase: str) -> bool:
        return phase not in self._early and _is_early(self._plan.peek(phase) or self._up.plan.peek(phase))

    def _say_ahead(self, phase: str) -> None:
        self._out += self._usual(phase)
        self._early.add(phase)

    # Reading

    async def _line(self) -> bytes:
        buffer = self._wire.buffer
        while (end := buffer.find(b"\n")) < 0:
            await self._more()
        line = bytes(buffer[:end]).removesuffix(b"\r")
        del buffer[: end + 1]
        return line

    async def _more(self) -> None:
        """Send what was said, then wait for the client."""
        await self._flush()
        self._up.counts.turns += self._answered
        self._answered = False
        if self._finished and not self._mail and ("idle" in self._plan or "idle" in self._up.plan):
            await self._idle()
        else:
            await self._wire.read()

    async def _idle(self) -> None:
        self._finished = 0  # once after each transaction
        try:
            await asyncio.wait_for(self._wire.read(), self._up.script.idle)
        except TimeoutError:
            await self._do("idle")
            await self._flush()
            await self._wire.read()


def _is_early(action: object) -> bool:
    return isinstance(action, Do) and action.name == _EARLY


_USUAL_DOT = Deed(USUAL.steps, True, actions.answered(USUAL.steps, REPLIES["dot"]))

_COMMANDS: dict[bytes, Callable[[Session, bytes], Awaitable[None]]] = {
    b"EHLO": Session._hello,
    b"HELO": Session._hello,
    b"STAR": Session._starttls,
    b"AUTH": Session._authenticate,
    b"MAIL": Session._on_mail,
    b"RCPT": Session._on_rcpt,
    b"DATA": Session._on_data,
    b"BDAT": Session._on_bdat,
    b"RSET": Session._on_rset,
    b"QUIT": Session._on_quit,
}
