"""From the configuration to the settings of each room.

Called by `relay run` at start, by `process` at reload, by `offline`. Pure: builds values, opens and starts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from relay.app.plan import LogStyle, Plan
from relay.config import build
from relay.config.load import Loaded
from relay.config.schema import Config
from relay.config.schema import Listener as ListenerConfig
from relay.delivery.circuit import CircuitPolicy
from relay.delivery.policy import BouncePolicy, DeliveryPolicy, Uncertain
from relay.delivery.retry import NEVER, RetryPolicy
from relay.listener.settings import Settings
from relay.model import Identity, Scope
from relay.spool.limits import SpoolLimits
from relay.store.users import FileUser, Secret

LOW_DISK = 512 * 1024 * 1024


def plan(loaded: Loaded) -> Plan:
    config = loaded.config
    return Plan(
        source=loaded.path,
        warnings=loaded.warnings,
        hostname=config.hostname,
        listeners=listener_settings(config),
        providers=build.providers(config),
        routes=build.routes(config),
        delivery=delivery_policy(config),
        spool=config.spool.path,
        limits=spool_limits(config),
        http=config.http.listen if config.http else None,
        control=config.control_path,
        shutdown_timeout=config.shutdown_timeout,
        log=LogStyle(level=config.log.level, format=config.log.format, redact=config.log.redact),
        secrets=config.key_path,
        allow_private=config.http.allow_private_providers if config.http else False,
        sender=Identity(address=config.sender.address or "", name=config.sender.name or ""),
        identities=identities(config),
        users=users(config),
        workflows=build.workflows(config),
    )


def users(config: Config) -> tuple[FileUser, ...]:
    return tuple(
        FileUser(
            name=given.name,
            secret=Secret(clear=given.secret, hash=given.argon2.get_secret_value() if given.argon2 else ""),
            scopes=frozenset(map(Scope, given.scopes)),
        )
        for given in config.users
    )


def identities(config: Config) -> dict[str, Identity]:
    return {
        name: Identity(address=given.address, name=given.name or "", reply_to=given.reply_to or "")
        for name, given in config.identities.items()
    }


def delivery_policy(config: Config) -> DeliveryPolicy:
    retry, circuit, bounces = config.retry, config.circuit, config.bounces
    return DeliveryPolicy(
        hostname=config.hostname,
        retry=RetryPolicy(
            first=retry.first,
            factor=retry.factor,
            max=retry.max,
            give_up_after=retry.give_up_after,
            warn_after=NEVER if retry.warn_after is None else retry.warn_after,
        ),
        circuit=CircuitPolicy(failures=circuit.failures, open=circuit.open, max_open=circuit.max_open),
        uncertain=Uncertain(config.uncertain),
        bounces=BouncePolicy(send=bounces.send, sender=bounces.from_ or "", to=bounces.to or ""),
    )


def listener_settings(config: Config) -> tuple[Settings, ...]:
    wanted, named = header_names(config), identities(config)
    return tuple(_settings(listener, config, wanted, named) for listener in config.listeners)


def _settings(
    listener: ListenerConfig, config: Config, wanted: frozenset[str], named: Mapping[str, Identity]
) -> Settings:
    return Settings(
        name=listener.name,
        address=str(listener.listen),
        hostname=config.hostname,
        allow=listener.allow,
        tls=listener.tls,
        certfile=str(listener.cert or ""),
        keyfile=str(listener.key or ""),
        auth=listener.auth,
        max_message_size=listener.max_message_size,
        max_recipients=listener.max_recipients,
        max_connections=listener.max_connections,
        max_connections_per_client=listener.max_connections_per_client,
        line_endings=listener.line_endings,
        wanted=wanted,
        give_up_after=config.retry.give_up_after,
        identities=named,
        identity=listener.identity or "",
    )


def spool_limits(config: Config) -> SpoolLimits:
    largest = max((listener.max_message_size for listener in config.listeners), default=0)
    return SpoolLimits(
        max_size=config.spool.max_size,
        low_disk=max(LOW_DISK, 2 * largest),
        keep=config.history.keep,
        max_messages=config.history.max_messages,
    )


def header_names(config: Config) -> frozenset[str]:
    """Lower-case names of the headers that routes match on."""
    return frozenset(name.lower() for route in config.routes for name in route.match.header)
