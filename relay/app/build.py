"""From the configuration to the settings of each room.

Called by `relay run` at start, by `process` at reload, by `offline`. Pure: builds values, opens and starts nothing.
"""

from __future__ import annotations

from relay.app.plan import LogStyle, Plan
from relay.config import build
from relay.config.load import Loaded
from relay.config.schema import Config
from relay.config.schema import Listener as ListenerConfig
from relay.delivery.circuit import CircuitPolicy
from relay.delivery.policy import BouncePolicy, DeliveryPolicy, Uncertain
from relay.delivery.retry import NEVER, RetryPolicy
from relay.listener.settings import Settings, User
from relay.spool.limits import SpoolLimits

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
    )


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
    wanted = header_names(config)
    users = tuple(
        User(name=user.name, password=user.secret, hash=user.argon2.get_secret_value() if user.argon2 else "")
        for user in config.users
    )
    return tuple(_settings(listener, config, users, wanted) for listener in config.listeners)


def _settings(listener: ListenerConfig, config: Config, users: tuple[User, ...], wanted: frozenset[str]) -> Settings:
    return Settings(
        name=listener.name,
        address=str(listener.listen),
        hostname=config.hostname,
        allow=listener.allow,
        tls=listener.tls,
        certfile=str(listener.cert or ""),
        keyfile=str(listener.key or ""),
        auth=listener.auth,
        users=users,
        max_message_size=listener.max_message_size,
        max_recipients=listener.max_recipients,
        max_connections=listener.max_connections,
        max_connections_per_client=listener.max_connections_per_client,
        line_endings=listener.line_endings,
        wanted=wanted,
        give_up_after=config.retry.give_up_after,
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
