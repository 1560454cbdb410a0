"""Frozen data that crosses borders between the rooms of the relay.

Every layer may import this; it imports nothing of ours and does nothing. Its parts import downwards: `queue` and
`providers` from `mail`.
"""

from relay.model.mail import Body, Envelope, Message, MessageId, Recipient, Reply, Source, Submission
from relay.model.providers import Limits, Match, Provider, Rewrite, Route, Shipment, Timeouts, Tls
from relay.model.queue import (
    ENDED,
    Appetite,
    Berth,
    DeliveryOutcome,
    Ended,
    Fault,
    Lease,
    Owed,
    Phase,
    QueueEntry,
    Reservation,
    Settlement,
    Spent,
    State,
    TimelineEvent,
    Usage,
    Verdict,
)

__all__ = [
    "ENDED",
    "Appetite",
    "Berth",
    "Body",
    "DeliveryOutcome",
    "Ended",
    "Envelope",
    "Fault",
    "Lease",
    "Limits",
    "Match",
    "Message",
    "MessageId",
    "Owed",
    "Phase",
    "Provider",
    "QueueEntry",
    "Recipient",
    "Reply",
    "Reservation",
    "Rewrite",
    "Route",
    "Settlement",
    "Shipment",
    "Source",
    "Spent",
    "State",
    "Submission",
    "TimelineEvent",
    "Timeouts",
    "Tls",
    "Usage",
    "Verdict",
]
