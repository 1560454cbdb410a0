"""The SMTP conversation of one connection: lines to commands, DATA to the spool, AUTH and STARTTLS in between.

`server` makes one for each connection. It never awaits on the way of a command; what must wait (storage, a password,
a handshake) is a task, and what the client sends meanwhile lies in `rest`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar, cast

from relay.listener import tls
from relay.listener.auth import Verdict
from relay.listener.commands import COMMANDS, Act, unknown
from relay.listener.exchange import Credentials, Exchange, Step
from relay.listener.lines import Lines
from relay.listener.receive import Receiver
from relay.listener.replies import (
    AUTH_BUSY,
    AUTH_ENOUGH,
    AUTH_FAILED,
    AUTH_NOT_SENDING,
    AUTHENTICATED,
    BYE,
    GO_AHEAD,
    INTERNAL,
    TLS_HANDSHAKE,
    TLS_READY,
    TOO_MUCH_JUNK,
    TOO_QUIET,
    TOO_SLOW,
    Refusal,
)
from relay.listener.service import Service
from relay.listener.talk import Transaction
from relay.listener.wire import AUTH, BUSY, COMMAND, DATA, UPGRADE, Crowd
from relay.model import Reply

T = TypeVar("T")
Said = bytes | Refusal | None


class Session(Lines):
    """One SMTP client."""

    def __init__(self, service: Service, crowd: Crowd, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(service, crowd, loop)
        self.receiver: Receiver | None = None
        self.exchange = Exchange()
        self.window = 0.0
        self.window_start = 0

    def greet(self) -> None:
        if self.service.settings.tls == "implicit":
            self._start_tls()
        else:
            self.transport.write(self.service.banner())

    def obey(self, line: bytes) -> None:
        verb, _, argument = line.partition(b" ")
        command = COMMANDS.get(verb) or COMMANDS.get(verb.upper(), unknown)
        try:
            answer = command(self.talk, argument)
            if isinstance(answer, bytes):
                self.out.append(answer)
            elif isinstance(answer, Refusal):
                self.refuse(answer)
            else:
                self._act(answer, argument)
        except Exception as error:
            self.refuse(self._crashed(error))

    def _act(self, act: Act, argument: bytes) -> None:
        if act is Act.DATA:
            self._start_data()
        elif act is Act.AUTH:
            self.exchange = Exchange(lenient=self.service.settings.auth == "any")
            self._proceed(self.exchange.start(argument))
        elif act is Act.TLS:
            self.out.append(TLS_READY)
            self.flush()
            self._start_tls()
        else:
            self.out.append(BYE)
            self.leave(linger=self.at < len(self.rest))

    def refuse(self, refusal: Refusal) -> None:
        """Say no. Too many of them slow a client down, then end the session (hazard D10)."""
        talk, patience = self.talk, self.service.settings.patience
        if refusal.junk:
            talk.refused += 1
            talk.idle += 1
        if refusal.closes:
            self.hang_up(refusal)
            return
        self.report(refusal)
        self.out.append(refusal.wire)
        if not refusal.junk:
            return
        if talk.idle > patience.junk:
            self.hang_up(TOO_MUCH_JUNK)
        elif talk.refused > patience.soft:
            self._wait(asyncio.sleep(patience.slow), said)

    def _crashed(self, error: Exception) -> Refusal:
        """A bug of ours. The client learns nothing about it (hazard L4), the log its type only."""
        logging.getLogger(__name__).error("internal error in an SMTP session: %s", type(error).__name__)
        return INTERNAL

    # What must wait

    def _wait(self, job: Awaitable[T], reply: Callable[[T], Said]) -> None:
        """Do something asynchronous, then say `reply` of its result. It is not cancelled when the client goes (L3)."""
        self.mode = BUSY
        self.crowd.follow(job, partial(self._go_on, reply))

    def _go_on(self, reply: Callable[[T], Said], job: asyncio.Future[T]) -> None:
        self.crowd.finished(job)
        try:
            answer = reply(job.result())
        except asyncio.CancelledError:  # the process ends
            return
        except Exception as error:
            answer = self._crashed(error)
        if self.gone:
            self.drop()
            return
        self.quiet = 0.0
        if self.mode is BUSY:
            self.mode = COMMAND if self.receiver is None else DATA
        self._say(answer)
        self.let_go()
        self.pump()

    def _say(self, answer: Said) -> None:
        if isinstance(answer, Refusal):
            self.refuse(answer)
        elif answer is not None:
            self.out.append(answer)

    # DATA

    def _start_data(self) -> None:
        self.receiver = Receiver(self.talk, cast(Transaction, self.talk.mail))  # DATA is an Act only within one
        self.window, self.window_start = 0.0, 0
        self.out.append(GO_AHEAD)
        self.mode = DATA

    def take(self) -> None:
        receiver = cast(Receiver, self.receiver)  # there is one exactly while the mode is DATA
        chunk = self.rest[self.at :] if self.at else self.rest
        self.rest, self.at, self.quiet = b"", 0, 0.0
        try:
            drain = receiver.feed(chunk)
        except Exception as error:
            self.hang_up(self._crashed(error))  # nobody knows where the message ends
            return
        if receiver.done:
            self.rest = receiver.rest
            self._end_data(receiver)
        elif drain:
            self.hold_back()  # what arrived meanwhile would pile up a second time, in every session (hazard D9)
            self._wait(receiver.drain(), said)

    def _end_data(self, receiver: Receiver) -> None:
        self.receiver = None
        self.talk.mail = None
        self.mode = COMMAND
        try:
            refusal = receiver.judge()
            if refusal is None:
                self._wait(receiver.keep(), partial(self._kept, receiver))
                return
            self.crowd.spawn(receiver.discard())
        except Exception as error:
            refusal = self._crashed(error)
        self.refuse(refusal)

    def _kept(self, receiver: Receiver, reply: Reply | None) -> bytes | Refusal:
        if reply is None:
            return receiver.kept()
        self.crowd.spawn(receiver.discard())
        return Refusal.of("storage", reply)

    def drop(self) -> None:
        # While it drains the receiver is in use; `_go_on` comes back here when that is over.
        if self.receiver is not None and self.mode is not BUSY:
            self.crowd.spawn(self.receiver.discard())
            self.receiver = None

    def tick_data(self, seconds: float) -> None:
        """A client that sends nothing, or next to nothing, is cut; one that is merely slow is not (hazards D1, D2)."""
        patience, receiver = self.service.settings.patience, cast(Receiver, self.receiver)
        self.window += seconds
        if self.quiet >= patience.data:
            self.hang_up(TOO_QUIET)
        elif self.window >= patience.window:
            if receiver.taken - self.window_start < patience.rate * self.window:
                self.hang_up(TOO_SLOW)
            self.window, self.window_start = 0.0, receiver.taken

    # AUTH. No line from here on is logged, reported or echoed (hazard L8).

    def respond(self, line: bytes) -> None:
        self.mode = COMMAND
        self._proceed(self.exchange.step(line))

    def _proceed(self, step: Step) -> None:
        if isinstance(step, Credentials):
            self._wait(self._login(step), said)
        elif isinstance(step, Refusal):
            self.refuse(step)
        else:
            self.out.append(step)
            self.mode = AUTH

    async def _login(self, claim: Credentials) -> bytes | Refusal:
        service, talk = self.service, self.talk
        judge = service.authenticator
        verdict = Verdict.YES if service.settings.auth == "any" else await judge.check(claim, talk.client)
        if verdict is Verdict.BUSY:
            return AUTH_BUSY
        if verdict is Verdict.NOT_SENDING:
            return AUTH_NOT_SENDING
        if verdict is Verdict.NO:
            await asyncio.sleep(judge.throttle.failed(talk.client, service.ports.monotonic()))
            talk.failures += 1
            return AUTH_FAILED if talk.failures < service.settings.patience.failures else AUTH_ENOUGH
        judge.throttle.succeeded(talk.client)
        talk.log_in(claim.name)
        return AUTHENTICATED

    # TLS

    def _start_tls(self) -> None:
        """What was sent in clear behind STARTTLS is forgotten, not obeyed later (hazard C1)."""
        self.rest, self.at = b"", 0
        self.mode = UPGRADE
        context = cast(ssl.SSLContext, self.service.tls_context)  # settings.tls is not none, or we were not asked
        patience = self.service.settings.patience
        self.crowd.spawn(self._upgrade(tls.upgrade(self.loop, self.transport, self, context, patience.handshake)))

    async def _upgrade(self, handshake: Coroutine[Any, Any, asyncio.Transport | None]) -> None:
        service = self.service
        transport = await handshake
        if transport is None or self.transport.is_closing():  # uvloop returns one of a lost connection
            self._upgrade_failed()
            return
        self.transport = transport
        self.session = self.talk = self.talk.secured()
        self.session.ssl = {"sslcontext": service.tls_context}
        self.mode = COMMAND
        self.quiet = 0.0
        if service.settings.tls == "implicit":
            self.out.append(service.banner())
        self.pump()

    def _upgrade_failed(self) -> None:
        """There is nobody left to talk to; asyncio does not report such a connection as lost."""
        self.report(TLS_HANDSHAKE)
        self.transport.abort()
        self.connection_lost(None)


def said(answer: Said) -> Said:
    """What was waited for is itself the reply, or None: there is none."""
    return answer
