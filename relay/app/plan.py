"""What a relay runs by: the settings of each room as plain frozen values.

Made from the configuration by `build`, kept by `running`. It can be sent from one process to another: nothing in it is
of the configuration's own machinery, which is gone when the relay runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from relay.config.listen import ListenAddress
from relay.delivery.policy import DeliveryPolicy
from relay.listener.settings import Settings
from relay.model import Identity, Provider, Route, Workflow
from relay.spool.limits import SpoolLimits
from relay.store.users import FileUser


class CannotStart(Exception):
    """The relay cannot start as planned. The text is one sentence with cause and fix. `code`: the exit code."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


class LogStyle(Struct, frozen=True, kw_only=True):
    level: str
    format: str
    redact: bool


class Plan(Struct, frozen=True, kw_only=True):
    """`source`: the file it was read from, None: the built-in defaults. `http` None: none. Times in seconds.

    `secrets`: the file with the encryption key. `allow_private`: providers made over HTTP may be in private networks.
    `sender`: of composed mail; what is empty in it comes from the default provider.
    """

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
    secrets: Path
    allow_private: bool = False
    sender: Identity = Identity(address="")
    identities: Mapping[str, Identity] = field(default_factory=dict)
    users: tuple[FileUser, ...] = ()
    workflows: tuple[Workflow, ...] = ()


_FIXED = {"hostname": "hostname", "spool": "spool", "http": "http", "control": "control", "secrets": "secrets"}
_FIXED |= {"allow_private": "http"}
"""What a reload leaves as it is, and the setting that people know it by."""


def restart_needed(old: Plan, new: Plan) -> tuple[str, ...]:
    """The settings that differ and that a reload leaves as they are."""
    return tuple(dict.fromkeys(known for name, known in _FIXED.items() if getattr(old, name) != getattr(new, name)))


def without_restart(old: Plan, new: Plan) -> Plan:
    """The new plan as far as a reload can put it in force: the rest is as it was."""
    return replace(
        new,
        **{name: getattr(old, name) for name in _FIXED},
        listeners=tuple(dataclasses.replace(settings, hostname=old.hostname) for settings in new.listeners),
        delivery=replace(new.delivery, hostname=old.hostname),
    )
