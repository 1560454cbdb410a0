"""One attempt at one queue entry: what is still to do, what was decided, what came of it.

Passed between worker, dispatcher and settle. Frozen; decides only what follows from one outcome by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from relay.model import (
    DeliveryOutcome,
    Fault,
    Phase,
    Provider,
    QueueEntry,
    Recipient,
    Reservation,
    Rewrite,
    Spent,
    Verdict,
)

ELSEWHERE_FROM_TRY = 3
"""A message refused for now at DATA or the dot stays with its provider; from this try on others may have it."""

_CONTENT = frozenset({Phase.DATA, Phase.BODY, Phase.DOT})
_ABOUT_THE_MESSAGE = _CONTENT | {Phase.MAIL, Phase.RCPT}


class Send(Struct, frozen=True, kw_only=True):
    """Send it now: one transaction with `provider`, counted in flight and in its quota until `finished` is told.

    `settings`: the provider as it was then; what an older one answered says nothing about its repaired successor.
    `alone`: no other provider remains that has not refused it, so a refusal that would allow `elsewhere` is final.
    `failed_over_from`: a provider ordered before this one, which failed or is out for `reason`; "" none. `rule`: index
    of the route that matched, None: none did.
    """

    settings: Provider
    recipients: tuple[Recipient, ...]
    sender: str
    lane: str
    size: int
    rewrite: Rewrite | None = None
    reservation: Reservation | None = None
    alone: bool = False
    failed_over_from: str = ""
    reason: str = ""
    rule: int | None = None

    @property
    def provider(self) -> str:
        return self.settings.name


class Park(Struct, frozen=True, kw_only=True):
    """Nothing can be sent now. `until`: when one may be usable, not later than a minute ahead.

    `waiting`: a provider is there and only paces us (its window, its minute, throttling); the round goes on.
    Otherwise the round is over: every provider failed it or cannot be used. `shut`: the whole lane is, all its
    providers being out, so it is due as soon as the lane has room again.
    """

    until: float
    reason: str
    lane: str
    waiting: bool = False
    shut: bool = False


class Tried(Struct, frozen=True, kw_only=True):
    """One transaction that was made, with exactly one outcome for each recipient, and what it cost."""

    send: Send
    outcomes: tuple[DeliveryOutcome, ...]
    spent: Spent | None = None


class Attempt(Struct, frozen=True, kw_only=True):
    """An entry while a worker has it. `headers`: those that routes match on. `pending`: nothing decided about them."""

    entry: QueueEntry
    pending: tuple[Recipient, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    avoid: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @staticmethod
    def begin(entry: QueueEntry, headers: Mapping[str, str] | None = None) -> Attempt:
        owed = entry.owed
        return Attempt(
            entry=entry, pending=owed.recipients, headers=headers or {}, avoid=owed.avoid, refused=owed.refused
        )

    def after(self, tried: Tried) -> Attempt | None:
        """What to ask the dispatcher next, None: settle now.

        A transaction that took some recipients is settled at once, so that a crash cannot send to them twice.
        """
        tries = self.entry.owed.tries
        movable = [outcome for outcome in tried.outcomes if moves_on(outcome, tried.send.alone, tries)]
        if not movable or any(o.verdict is Verdict.ACCEPTED or o.fault is Fault.UNCERTAIN for o in tried.outcomes):
            return None
        done = {o.recipient.address for o in tried.outcomes} - {o.recipient.address for o in movable}
        return replace(
            self,
            pending=tuple(recipient for recipient in self.pending if recipient.address not in done),
            avoid=joined(self.avoid, movable, Verdict.DEFERRED),
            refused=joined(self.refused, movable, Verdict.REJECTED),
        )


def moves_on(outcome: DeliveryOutcome, alone: bool, tries: int) -> bool:
    """Whether this recipient may be offered to another provider in this round. `tries`: before this attempt."""
    if outcome.verdict is Verdict.REJECTED:
        return outcome.elsewhere and not alone
    if outcome.verdict is Verdict.ACCEPTED or outcome.fault is Fault.UNCERTAIN:
        return False
    return outcome.fault in (Fault.PROVIDER, Fault.QUOTA) or outcome.elsewhere or _weary(outcome, tries)


def counts(outcome: DeliveryOutcome) -> bool:
    """Whether this was a try: a reply to this message's own commands, or nobody knows."""
    if outcome.fault is Fault.UNCERTAIN:
        return True
    return outcome.phase in _ABOUT_THE_MESSAGE and outcome.reply.code > 0


def taken(outcomes: Sequence[DeliveryOutcome], reservation: Reservation) -> int:
    """How much of a reservation was used. UNCERTAIN counts as spent: the provider may well have counted it."""
    used = sum(o.verdict is Verdict.ACCEPTED or o.fault is Fault.UNCERTAIN for o in outcomes)
    return min(used, reservation.amount)


def joined(names: tuple[str, ...], outcomes: Sequence[DeliveryOutcome], verdict: Verdict) -> tuple[str, ...]:
    """`names` and the providers that gave this verdict, each once, in order. A throttled one is not to be avoided."""
    new = [o.provider for o in outcomes if o.verdict is verdict and o.signal != "throttled"]
    return tuple(dict.fromkeys((*names, *new)))


def _weary(outcome: DeliveryOutcome, tries: int) -> bool:
    """The same provider has put off this message at DATA or the dot often enough."""
    put_off = outcome.fault is Fault.MESSAGE and outcome.phase in _CONTENT and not outcome.signal
    return put_off and tries + 1 >= ELSEWHERE_FROM_TRY
