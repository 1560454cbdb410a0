"""The Protocols between the layers: who may ask what of whom.

Each room asks for the narrowest port it needs; `app` hands in what implements it. Nothing here does anything.
"""

from relay.ports.desk import Acted, Desk, Explain, Filter, MessageView, Page, QueueStats, RecipientView
from relay.ports.managing import (
    Accounts,
    Busy,
    Checks,
    Integrations,
    NameTaken,
    Outdated,
    ReadOnly,
    Registry,
    Tested,
    TooMany,
    Trouble,
    Workflows,
)
from relay.ports.spool import CLAIMED, BodyWriter, Budget, Clock, Happenings, Intake, Placement, Transport, Work

__all__ = [
    "CLAIMED",
    "Accounts",
    "Acted",
    "BodyWriter",
    "Budget",
    "Busy",
    "Checks",
    "Clock",
    "Desk",
    "Explain",
    "Filter",
    "Happenings",
    "Intake",
    "Integrations",
    "MessageView",
    "NameTaken",
    "Outdated",
    "Page",
    "Placement",
    "QueueStats",
    "ReadOnly",
    "RecipientView",
    "Registry",
    "Tested",
    "TooMany",
    "Transport",
    "Trouble",
    "Work",
    "Workflows",
]
