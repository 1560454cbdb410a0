"""What the conversation heard, as outcomes: raw results and failures in, one DeliveryOutcome a recipient out.

Called by the pool and the transport. The table in delivery/classify judges; this only asks it.
"""

from __future__ import annotations

from collections.abc import Iterable

from relay.delivery.classify import accepted, lost, outcome
from relay.model import DeliveryOutcome, Phase, Provider, Recipient, Reply
from relay.smtp.transaction import Result


def of_results(
    provider: Provider, results: Iterable[Result], *, reason: str, dsn: bool, abreast: int
) -> tuple[DeliveryOutcome, ...]:
    """`reason`: why a reply is missing, where one is. `dsn`: the upstream offers DSN. `abreast`: as in the outcome."""
    return tuple([_of_result(provider, result, reason, dsn, abreast) for result in results])


def _of_result(provider: Provider, result: Result, reason: str, dsn: bool, abreast: int) -> DeliveryOutcome:
    reply = result.reply
    if reply is None:
        reply = lost(f"{provider.host} {reason}")
    elif reply.code < 300:
        return accepted(result.recipient, provider.name, reply, dsn=dsn, abreast=abreast)
    return outcome(result.recipient, provider.name, provider.preset, result.phase, reply)


def of_reply(
    provider: Provider, recipients: Iterable[Recipient], phase: Phase, reply: Reply
) -> tuple[DeliveryOutcome, ...]:
    """The same fate for all."""
    return tuple([outcome(recipient, provider.name, provider.preset, phase, reply) for recipient in recipients])


def of_unreadable(
    provider: Provider, recipients: Iterable[Recipient], error: OSError | ValueError
) -> tuple[DeliveryOutcome, ...]:
    """Our own file is at fault, so no provider and no recipient is."""
    reply = Reply(code=451, enhanced="4.3.0", text=f"the body cannot be read here: {error}")
    return of_reply(provider, recipients, Phase.BODY, reply)
