"""The connections to one provider and the shipments that wait for them.

The transport keeps one for each provider. Opens connections on demand, one first: it decides for all that wait.
Never decides what may be sent when: whatever is submitted is sent, or ends with an outcome.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from relay.model import DeliveryOutcome, Phase, Provider, Reply
from relay.smtp.offer import obstacle
from relay.smtp.transaction import Transaction
from relay.upstream.causes import Failure
from relay.upstream.connect import Connected
from relay.upstream.conversation import Conversation, Job
from relay.upstream.outcomes import Ending, of_failure, of_reply, of_transaction, of_unreadable

DEFAULT_CONNECTIONS = 20
CLOSING = Reply(code=421, enhanced="4.3.2", text="the relay is shutting down")
RESPITE = 5.0
"""Seconds without a new connection after one was refused while others work: the provider takes no more of them."""

PLAIN = 600.0
"""Seconds without CHUNKING after it went wrong."""

Connector = Callable[[Provider], Awaitable[Connected | Failure]]


class Pool:
    """`provider`: as it was when the pool was made; shipments go by that. `idle_seconds`: then a connection QUITs."""

    def __init__(self, provider: Provider, connector: Connector, idle_seconds: float) -> None:
        self.provider = provider
        self.idle_seconds = idle_seconds
        self._connector = connector
        self._limit = provider.limits.connections or DEFAULT_CONNECTIONS
        self._waiting: deque[Job] = deque()
        self._again: deque[Job] = deque()
        self._open: set[Conversation] = set()
        self._idle: dict[Conversation, None] = {}
        self._riding: dict[Conversation, None] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._respite: asyncio.TimerHandle | None = None
        self._plain_until = 0.0
        self._retired = False
        self._held = False
        self._closed = False

    @property
    def connections(self) -> int:
        return len(self._open)

    @property
    def done(self) -> bool:
        """Retired, and nothing left."""
        return self._retired and not (self._open or self._opening)

    def submit(self, job: Job) -> None:
        """Send it as soon as a connection can. Its future gets the outcomes."""
        self._waiting.append(job)
        if self._idle:
            next(reversed(self._idle)).advance()
        elif not self._grow() and self._riding:
            next(iter(self._riding)).advance()

    def retire(self) -> None:
        """The provider is another, or gone: finish what is on the wire, give back the rest, then QUIT."""
        self._retired = True
        self._give_back()
        for conversation in list(self._idle):
            conversation.leave()

    def hold(self) -> None:
        """Give back what waits, and what would be tried again: nothing of it was sent."""
        self._held = True
        self._give_back()

    async def close(self) -> None:
        """QUIT where nothing is on the wire, cut the rest, fail what waits."""
        self._closed = True
        self._end_respite()
        self._fail(Failure(phase=Phase.CONNECT, reply=CLOSING))
        self.retire()
        for task in self._opening:
            task.cancel()
        left = list(self._open)
        for conversation in left:
            if conversation.busy:
                conversation.abort("was cut off: the relay is shutting down")
        await asyncio.gather(*self._opening, *(each.wait_closed() for each in left), return_exceptions=True)

    # What a conversation asks and reports.

    @property
    def chunking(self) -> bool:
        return not self._plain_until or asyncio.get_running_loop().time() >= self._plain_until

    def misled(self) -> None:
        self._plain_until = asyncio.get_running_loop().time() + PLAIN

    def take(self, conversation: Conversation) -> Job | None:
        job = self._next(conversation) if self._waiting or self._again else None
        if job is not None:
            self._idle.pop(conversation, None)
            self._riding.pop(conversation, None)
        elif conversation.busy:
            self._riding[conversation] = None
        elif self._retired:
            conversation.leave()
        else:
            self._riding.pop(conversation, None)
            self._idle[conversation] = None
        return job

    def ended(self, conversation: Conversation, job: Job, transaction: Transaction, reason: str) -> None:
        if transaction.doubtful and not (job.first or job.again is not None or self._closed):
            # The end of a connection that served others: no fault of this mail's (hazards F1, F6).
            if self._held or self._retired:
                _resolve(job, ())
                return
            job.again = asyncio.get_running_loop().time()
            self._again.append(job)
            return
        ending = Ending(reason, conversation.offer.dsn, conversation.most, job.content.size)
        _resolve(job, of_transaction(self.provider, transaction, ending))

    def unsayable(self, job: Job, problem: str) -> None:
        self._refuse(job, Reply(code=553, enhanced="5.1.3", text=f"the envelope cannot be sent: {problem}"))

    def unreadable(self, job: Job, error: OSError) -> None:
        _resolve(job, of_unreadable(self.provider, job.shipment.recipients, error))

    def leaving(self, conversation: Conversation) -> None:
        self._idle.pop(conversation, None)
        self._riding.pop(conversation, None)

    def gone(self, conversation: Conversation) -> None:
        self._open.discard(conversation)
        self.leaving(conversation)
        self._grow()

    def _next(self, conversation: Conversation) -> Job | None:
        """The first that waits, can still be wanted, and can go to an upstream with this offer."""
        for queue in (self._again, self._waiting):
            while queue and (queue is self._waiting or self._newer(conversation, queue[0])):
                job = queue.popleft()
                if job.future.done():  # whoever wanted it was cancelled
                    continue
                problem = obstacle(job.shipment, job.content.size, conversation.offer)
                if problem is None:
                    return job
                self._refuse(job, problem)
        return None

    def _newer(self, conversation: Conversation, job: Job) -> bool:
        """What one connection failed to carry goes on one that was opened since; several may have to share it."""
        return not conversation.used or (job.again is not None and conversation.opened >= job.again)

    def _give_back(self) -> None:
        for job in self._drained():
            _resolve(job, ())

    def _refuse(self, job: Job, reply: Reply) -> None:
        _resolve(job, of_reply(self.provider, job.shipment.recipients, Phase.MAIL, reply))

    # Opening.

    def _grow(self) -> bool:
        """Open what the waiting jobs need and may have. Whether a connection is on its way."""
        if self._closed:
            return False
        wanted = len(self._waiting) + len(self._again) - len(self._opening)
        allowed = self._limit - len(self._open) - len(self._opening)
        if not self._open:
            allowed = min(allowed, 1 - len(self._opening))  # one attempt decides before others are made
        elif self._respite is not None and not self._again:
            allowed = 0
        for _ in range(min(wanted, allowed)):
            task = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add(task)
        return bool(self._opening)

    async def _connect(self) -> None:
        try:
            made = await self._connector(self.provider)
        except Exception as error:  # a bug: whoever waits must learn of it, not hang
            self._settled()
            for job in self._drained():
                job.future.set_exception(error)
            return
        except asyncio.CancelledError:
            self._settled()
            raise
        self._settled()
        if isinstance(made, Failure):
            self._refused(made)
            return
        conversation = Conversation(self, made.transport, made.offer)
        self._open.add(conversation)
        self._end_respite()
        conversation.start()
        self._grow()

    def _settled(self) -> None:
        """Before anybody is told: whoever submits next must find the state that was decided."""
        task = asyncio.current_task()
        if task is not None:
            self._opening.discard(task)

    def _refused(self, failure: Failure) -> None:
        """No connection. Ends all that wait for one; if others are at work they serve what waits."""
        if not self._open:
            self._fail(failure)
            return
        self._end_respite()
        self._respite = asyncio.get_running_loop().call_later(RESPITE, self._respite_over)
        self._waiting.extendleft(reversed(self._again))
        self._again.clear()
        for conversation in (*self._idle, *self._riding):
            conversation.advance()

    def _respite_over(self) -> None:
        """Those at work may be so for long: what waits behind them tries again."""
        self._respite = None
        self._grow()

    def _end_respite(self) -> None:
        if self._respite is not None:
            self._respite.cancel()
            self._respite = None

    def _fail(self, failure: Failure) -> None:
        for job in self._drained():
            _resolve(job, of_failure(self.provider, job.shipment.recipients, failure))

    def _drained(self) -> list[Job]:
        jobs = [job for job in (*self._again, *self._waiting) if not job.future.done()]
        self._waiting.clear()
        self._again.clear()
        return jobs


def _resolve(job: Job, outcomes: tuple[DeliveryOutcome, ...]) -> None:
    if not job.future.done():
        job.future.set_result(outcomes)
