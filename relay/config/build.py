"""From the configuration to the values the relay works with: presets merged, defaults decided.

Called by `app` at start and at reload, and by the rules. Pure: the same configuration gives equal values.
"""

from __future__ import annotations

from typing import Any

from relay import model
from relay.config import schema
from relay.config.presets import PRESETS, Preset
from relay.config.workflows import name_for, workflow

_CUSTOM = PRESETS["custom"]
IMPLICIT_PORT = 465  # RFC 8314 7.3


def providers(config: schema.Config) -> tuple[model.Provider, ...]:
    """Every provider of the file, inactive ones too, in the file's order."""
    return tuple(map(provider, config.providers))


def provider(given: schema.Provider) -> model.Provider:
    """One provider: what it says itself, else what its preset says, else the default."""
    preset = PRESETS[given.preset] if given.preset else _CUSTOM
    port = given.port or (IMPLICIT_PORT if given.tls == "implicit" else preset.port)
    return model.Provider(
        name=given.called,
        host=given.host or _host(preset, given.region),
        port=port,
        tls=_tls(given, port, preset),
        preset=given.preset or "",
        ca_file=str(given.ca_file or ""),
        allow_plaintext_auth=given.allow_plaintext_auth,
        username=given.username or preset.username,
        password=given.secret,
        auth=given.auth or preset.auth,
        pipelining=given.pipelining or preset.pipelining,
        priority=given.priority,
        weight=given.weight,
        active=given.active,
        limits=_limits(given.limits, preset.limits),
        timeouts=model.Timeouts(**given.timeouts.model_dump()),
    )


def _host(preset: Preset, region: str | None) -> str:
    if preset.regional and region is None:
        return ""
    return preset.host.format(region=region)


def _tls(given: schema.Provider, port: int, preset: Preset) -> model.Tls:
    if given.tls is not None:
        return model.Tls(given.tls)
    if port == IMPLICIT_PORT:
        return model.Tls.IMPLICIT
    if given.use_tls is None:
        return preset.tls
    return model.Tls.STARTTLS if given.use_tls else model.Tls.NONE


def _limits(given: schema.Limits, preset: model.Limits) -> model.Limits:
    """A limit that is written counts, null too; the preset's stand for the others."""

    def pick(name: str) -> Any:
        return getattr(given if name in given.model_fields_set else preset, name)

    return model.Limits(**{name: pick(name) for name in schema.Limits.model_fields})


def routes(config: schema.Config) -> tuple[model.Route, ...]:
    """The routes in the file's order."""
    return tuple(
        model.Route(match=_match(route.match), providers=route.providers, rewrite=_rewrite(route.rewrite))
        for route in config.routes
    )


def workflows(config: schema.Config) -> tuple[model.Workflow, ...]:
    """Those of the file in its order. Who has no name gets one that nobody in the file has."""
    taken = {given.name for given in config.workflows if given.name}
    made = []
    for given in config.workflows:
        name = given.name or name_for(given.event, taken)
        taken.add(name)
        made.append(workflow(given, name=name))
    return tuple(made)


def _match(given: schema.Match) -> model.Match:
    return model.Match(
        listener=given.listener or "",
        client=tuple(map(str, given.client or ())),
        user=given.user or "",
        sender=given.sender or "",
        recipient=given.recipient or "",
        headers=tuple((name.lower(), value) for name, value in given.header.items()),
    )


def _rewrite(given: schema.Rewrite | None) -> model.Rewrite | None:
    if given is None:
        return None
    return model.Rewrite(
        envelope_from=given.envelope_from or "",
        header_from=given.header_from or "",
        reply_to="" if given.reply_to == "keep" else given.reply_to,
    )
