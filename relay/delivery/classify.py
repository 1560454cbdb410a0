"""Reply -> whose fault -> what to do: reads the table and makes outcomes.

Called by upstream for every recipient of a transaction. Never talks to anybody and knows no provider's state.
"""

from __future__ import annotations

import re

from relay.delivery.classify_table import PATTERNS, TABLE, Row, Ruling
from relay.model import DeliveryOutcome, Fault, Phase, Recipient, Reply, Verdict

NOBODY = Recipient(address="")
LONGEST_WAIT = 3600.0
_WAIT = re.compile(r"\b(?:in|after|wait)\s+(\d{1,6})\s*(s|sec|seconds?|m|min|minutes?)\b", re.IGNORECASE)


def classify(phase: Phase, reply: Reply, preset: str = "") -> Ruling:
    """The ruling of the first row that matches. Code 0: there was no reply, `text` says what happened instead."""
    return row_for(phase, reply, preset).ruling


def row_for(phase: Phase, reply: Reply, preset: str = "") -> Row:
    """The row itself: its name goes into explanations and tests. The last row matches everything."""
    return next(row for row in TABLE if _matches(row, phase, reply, preset))


def outcome(
    recipient: Recipient,
    provider: str,
    preset: str,
    phase: Phase,
    reply: Reply,
    conversation: tuple[str, ...] = (),
) -> DeliveryOutcome:
    """What became of one recipient that was not accepted."""
    ruling = classify(phase, reply, preset)
    return DeliveryOutcome(
        recipient=recipient,
        verdict=ruling.verdict,
        fault=ruling.fault,
        provider=provider,
        reply=reply,
        phase=phase,
        retry_after=asked_to_wait(reply),
        elsewhere=ruling.elsewhere,
        suspend=ruling.suspend,
        signal=ruling.signal,
        conversation=conversation,
    )


def accepted(
    recipient: Recipient,
    provider: str,
    reply: Reply,
    *,
    dsn: bool = False,
    abreast: int = 0,
    conversation: tuple[str, ...] = (),
) -> DeliveryOutcome:
    """A recipient the upstream took over. `dsn`: it also took over its DSN parameters (RFC 3461)."""
    return DeliveryOutcome(
        recipient=recipient,
        verdict=Verdict.ACCEPTED,
        fault=Fault.NONE,
        provider=provider,
        reply=reply,
        phase=Phase.DOT,
        signal="dsn" if dsn else "",
        abreast=abreast,
        conversation=conversation,
    )


def lost(reason: str) -> Reply:
    """The reply that was none: "connection refused", "no reply within 60 s", "name does not resolve"."""
    return Reply(code=0, text=reason)


def asked_to_wait(reply: Reply) -> float | None:
    """Seconds a temporary refusal asks for in its text ("try again in 300 seconds", as greylisting does)."""
    found = _WAIT.search(reply.text) if 400 <= reply.code < 500 else None
    if found is None:
        return None
    unit = 60.0 if found[2][0] in "mM" else 1.0
    return min(float(found[1]) * unit, LONGEST_WAIT)


def _matches(row: Row, phase: Phase, reply: Reply, preset: str) -> bool:
    return (
        phase in row.phases
        and (not row.codes or reply.code in row.codes)
        and (not row.presets or preset in row.presets)
        and (not row.enhanced or PATTERNS[row.enhanced].search(reply.enhanced) is not None)
        and (not row.text or PATTERNS[row.text].search(reply.text) is not None)
    )
