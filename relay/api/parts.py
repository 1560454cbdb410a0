"""What the API is built from.

Filled by `app`, given to `create_app`. Ports and functions only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.api.operations.queue import Operations
from relay.compose.senders import House
from relay.delivery.status import ProviderStatus
from relay.events import Observer
from relay.ports import Accounts, Checks, Clock, Desk, Explain, Happenings, Integrations, Registry, Workflows
from relay.posting import Post

if TYPE_CHECKING:
    from relay.automation.firing import Automation


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """`mode`: relay | capture. `checks`: name to "ok", or to what is wrong and how to mend it. All ok: ready."""

    mode: str
    checks: Mapping[str, str]

    @property
    def ready(self) -> bool:
        return all(found == "ok" for found in self.checks.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    """`metrics`: the text format of Prometheus. `providers`: names of those that exist now.

    `post`: takes composed mail. `house`: what composing needs to know. `apply`: puts in force what was changed by
    whoever manages something. `statuses`: what delivery knows of the providers now. `source`: what people call the
    file that providers stand in. `allow_private`: providers may have hosts in private networks (hazard H2).
    """

    desk: Desk
    explain: Explain
    post: Post
    registry: Registry
    accounts: Accounts
    checks: Checks
    house: Callable[[], House]
    apply: Callable[[], Awaitable[None]]
    observe: Observer
    readiness: Callable[[], Awaitable[Readiness]]
    metrics: Callable[[], Awaitable[bytes]]
    providers: Callable[[], Collection[str]]
    clock: Clock
    version: str
    statuses: Callable[[], Sequence[ProviderStatus]] = tuple
    source: str = "the configuration file"
    allow_private: bool = False
    workflows: Workflows = None  # type: ignore[assignment]
    integrations: Integrations = None  # type: ignore[assignment]
    happenings: Happenings = None  # type: ignore[assignment]
    automation: Automation = None  # type: ignore[assignment]

    @property
    def operations(self) -> Operations:
        return Operations(
            desk=self.desk,
            explanations=self.explain,
            providers=self.providers,
            observe=self.observe,
            clock=self.clock,
        )
