"""What the configuration says about delivery, as one value.

Made by app from the configuration, read by dispatcher, settle and notices. Checks nothing: the schema has.
"""

from __future__ import annotations

import enum

from msgspec import Struct, field

from relay.delivery.circuit import CircuitPolicy
from relay.delivery.retry import RetryPolicy


class Uncertain(enum.StrEnum):
    """What to do, besides asking the same provider first, when the answer to the final dot was lost."""

    RETRY_SAME = "retry_same"
    FAILOVER = "failover"
    HOLD = "hold"


class BouncePolicy(Struct, frozen=True, kw_only=True):
    """`sender`: the From of notices; "": postmaster@<hostname>. `to`: one mailbox for all of them, "": the sender's."""

    send: bool = True
    sender: str = ""
    to: str = ""


class DeliveryPolicy(Struct, frozen=True, kw_only=True):
    hostname: str = "localhost"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    circuit: CircuitPolicy = field(default_factory=CircuitPolicy)
    uncertain: Uncertain = Uncertain.RETRY_SAME
    bounces: BouncePolicy = field(default_factory=BouncePolicy)
