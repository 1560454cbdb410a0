"""What a relay runs by: the settings of each room as plain frozen values.

Made from the configuration by `build`, kept by `running`. It can be sent from one process to another: nothing in it is
of the configuration's own machinery, which is gone when the relay runs.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from relay.config.listen import ListenAddress
from relay.delivery.policy import DeliveryPolicy
from relay.listener.settings import Settings
from relay.model import Provider, Route
from relay.spool.limits import SpoolLimits


class CannotStart(Exception):
    """The relay cannot start as planned. The text is one sentence with cause and fix."""


class LogStyle(Struct, frozen=True, kw_only=True):
    level: str
    format: str
    redact: bool


class Plan(Struct, frozen=True, kw_only=True):
    """`source`: the file it was read from, None: the built-in defaults. `http` None: none. Times in seconds."""

    source: Path | None
    warnings: tuple[str, ...] = ()
    hostname: str
    listeners: tuple[Settings, ...]
    providers: tuple[Provider, ...]
    routes: tuple[Route, ...]
    delivery: DeliveryPolicy
    spool: Path
    limits: SpoolLimits
    http: ListenAddress | None
    control: Path
    shutdown_timeout: float
    log: LogStyle


_FIXED = ("hostname", "spool", "http", "control")


def restart_needed(old: Plan, new: Plan) -> tuple[str, ...]:
    """The settings that differ and that a reload leaves as they are."""
    return tuple(name for name in _FIXED if getattr(old, name) != getattr(new, name))


def without_restart(old: Plan, new: Plan) -> Plan:
    """The new plan as far as a reload can put it in force: the rest is as it was."""
    return replace(
        new,
        **{name: getattr(old, name) for name in _FIXED},
        listeners=tuple(dataclasses.replace(settings, hostname=old.hostname) for settings in new.listeners),
        delivery=replace(new.delivery, hostname=old.hostname),
    )
