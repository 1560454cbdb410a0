"""What the conversation heard, as outcomes: raw results and failures in, one DeliveryOutcome a recipient out.

Called by the pool and the transport. The table in delivery/classify judges; this only asks it.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from relay.delivery.classify import accepted, lost, outcome
from relay.model import DeliveryOutcome, Phase, Provider, Recipient, Reply
from relay.smtp.transaction import Result, Transaction
from relay.smtp.transcript import brief, full
from relay.upstream.causes import Failure, without_secret


class Ending(Struct, frozen=True):
    """How a transaction ended. `reason`: why a reply is missing, where one is. `dsn`: the upstream offers DSN.

    `abreast`: as in the outcome. `size`: of the content, bytes.
    """

    reason: str
    dsn: bool
    abreast: int
    size: int


def of_transaction(provider: Provider, transaction: Transaction, ending: Ending) -> tuple[DeliveryOutcome, ...]:
    conversation = brief(transaction) or _in_full(provider, transaction, ending)
    return tuple([_of_result(provider, result, ending, conversation) for result in transaction.results()])


def _in_full(provider: Provider, transaction: Transaction, ending: Ending) -> tuple[str, ...]:
    lines = full(transaction, ending.size, ending.reason)
    return tuple([without_secret(provider, line) for line in lines]) if provider.password else lines


def _of_result(provider: Provider, result: Result, ending: Ending, conversation: tuple[str, ...]) -> DeliveryOutcome:
    reply = result.reply
    if reply is None:
        reply = lost(f"{provider.host} {ending.reason}")
    elif reply.code < 300:
        return accepted(
            result.recipient,
            provider.name,
            reply,
            dsn=ending.dsn,
            abreast=ending.abreast,
            conversation=conversation,
        )
    return outcome(result.recipient, provider.name, provider.preset, result.phase, reply, conversation)


def of_reply(
    provider: Provider,
    recipients: Iterable[Recipient],
    phase: Phase,
    reply: Reply,
    conversation: tuple[str, ...] = (),
) -> tuple[DeliveryOutcome, ...]:
    """The same fate for all."""
    return tuple(
        [outcome(recipient, provider.name, provider.preset, phase, reply, conversation) for recipient in recipients]
    )


def of_failure(provider: Provider, recipients: Iterable[Recipient], failure: Failure) -> tuple[DeliveryOutcome, ...]:
    """There was no connection."""
    return of_reply(provider, recipients, failure.phase, failure.reply, failure.conversation)


def of_unreadable(
    provider: Provider, recipients: Iterable[Recipient], error: OSError | ValueError
) -> tuple[DeliveryOutcome, ...]:
    """Our own file is at fault, so no provider and no recipient is."""
    reply = Reply(code=451, enhanced="4.3.0", text=f"the body cannot be read here: {error}")
    return of_reply(provider, recipients, Phase.BODY, reply)
