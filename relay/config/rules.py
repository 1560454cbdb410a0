"""What two settings say together: a listener and who may use it, a route and the names in it, a password and its way.

Called by `load` once every single value is right. Each rule yields (path, sentence); `{it}` in a sentence stands for
what is written at that path. A rule reads certificates, since a bad one must not be found out at start; nothing else.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from relay.config import build
from relay.config.automation import Workflow, plain
from relay.config.listen import is_loopback
from relay.config.presets import PRESETS
from relay.config.schema import LONGEST_NAME, Config, Listener, Provider, Route, User
from relay.config.words import did_you_mean

Finding = tuple[tuple[str | int, ...], str]


def check(config: Config) -> Iterator[Finding]:
    """Everything that is wrong."""
    names = [listener.name for listener in config.listeners]
    yield from _unique("listeners", names, "name")
    yield from _unique("listeners", [_bound(listener, n) for n, listener in enumerate(config.listeners)], "listen")
    yield from _provider_names(config)
    yield from _unique("users", [user.name for user in config.users], "name")
    for index, listener in enumerate(config.listeners):
        yield from _under(("listeners", index), _listener(listener, config))
    for index, user in enumerate(config.users):
        yield from _under(("users", index), _user(user))
    for index, provider in enumerate(config.providers):
        yield from _under(("providers", index), _provider(provider))
    for index, route in enumerate(config.routes):
        yield from _under(("routes", index), _route(route, names, [p.called for p in config.providers]))
    yield from _workflow_names(config)
    for index, workflow in enumerate(config.workflows):
        yield from _under(("workflows", index), _workflow(workflow, config))
    yield from _times(config)


def warnings(config: Config) -> Iterator[str]:
    """What is allowed but should be meant."""
    for listener in config.listeners:
        everybody = any(network.prefixlen == 0 for network in listener.allow)
        if everybody and listener.listen.public and listener.auth != "required":
            yield f"listener {listener.name!r} takes mail from everybody: narrow allow, or set auth: required"


def conditions(config: Config) -> Iterator[str]:
    """What the file alone cannot tell, for who only checks it: a start looks at what people made, too."""
    if any({"send", "admin"} & set(user.scopes) for user in config.users):
        return
    for listener in config.listeners:
        if listener.auth == "required":
            yield (
                f"listener {listener.name!r} has auth: required, and no user under users may send: unless one was "
                "added with relay user add NAME, the relay will not start"
            )


def _under(prefix: tuple[str | int, ...], findings: Iterable[Finding]) -> Iterator[Finding]:
    return ((prefix + path, sentence) for path, sentence in findings)


def _bound(listener: Listener, index: int) -> str:
    anywhere = listener.listen.kind == "tcp" and listener.listen.port == 0  # the system picks a free one each time
    return f"any {index}" if anywhere else str(listener.listen)


def _unique(section: str, names: Sequence[object], key: str) -> Iterator[Finding]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield (section, index, key), f"{key}: {{it}} is taken: two {section} cannot have the same"


def _provider_names(config: Config) -> Iterator[Finding]:
    names = [provider.called for provider in config.providers]
    yield from _unique("providers", [provider.name or object() for provider in config.providers], "name")
    for index, provider in enumerate(config.providers):
        others = names[:index] + [other.name for other in config.providers[index:] if other.name]
        if not provider.name and provider.called in others:
            yield (
                ("providers", index),
                "name is missing: its host (or preset) would be it, but another provider is called so",
            )
        elif len(provider.called) > LONGEST_NAME:
            yield ("providers", index, "host"), "name is missing, and this host is too long to be one"


def _workflow_names(config: Config) -> Iterator[Finding]:
    places: dict[str, int] = {}
    for index, workflow in enumerate(config.workflows):
        if workflow.name and (first := places.setdefault(workflow.name, index)) != index:
            yield ("workflows", first, "name"), "name: {it} is given to another workflow, too"
            yield ("workflows", index, "name"), "name: {it} is taken: two workflows cannot have the same"


def _workflow(workflow: Workflow, config: Config) -> Iterator[Finding]:
    for index, action in enumerate(workflow.actions):
        identity = (action.data.identity or "").strip()
        if identity and plain(identity) and identity not in config.identities:
            yield (
                ("actions", index, "data", "identity"),
                "{it} is not in identities" + did_you_mean(identity, config.identities),
            )


def _listener(listener: Listener, config: Config) -> Iterator[Finding]:
    if listener.listen.public and (not listener.allow or "allow" not in listener.model_fields_set):  # hazard H11
        yield (
            ("listen",),
            "other machines can reach {it}, but allow is missing or empty: add the networks that may send, "
            "such as allow: [10.0.0.0/8], or listen on 127.0.0.1",
        )
    if listener.identity is not None and listener.identity not in config.identities:
        yield ("identity",), "{it} is not in identities" + did_you_mean(listener.identity, config.identities)
    yield from _certificate(listener)


def _certificate(listener: Listener) -> Iterator[Finding]:
    if listener.tls == "none":
        if listener.cert or listener.key:
            yield ("cert" if listener.cert else "key",), "cert and key are of no use with tls: none: set tls: starttls"
        return
    for name in ("cert", "key"):
        if getattr(listener, name) is None:
            yield ("tls",), f"tls: {listener.tls} needs cert and key, and {name} is missing"
    if listener.cert and listener.key:
        yield from _pair(listener.cert, listener.key)


def _pair(cert: Path, key: Path) -> Iterator[Finding]:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        other = "KEY_VALUES_MISMATCH" in str(error)
        why = "the key belongs to another certificate" if other else "one of them is not PEM, or the key has a password"
        yield ("cert",), f"cert and key cannot be used together: {why}"


def _user(user: User) -> Iterator[Finding]:
    given = [name for name in ("password", "password_file", "argon2") if getattr(user, name) is not None]
    if len(given) > 1:
        yield (given[1],), f"{given[0]} and {given[1]} are both there: keep one"
    if not given:
        yield (), "a user needs one of password, password_file and argon2"
    elif given == ["argon2"] and user.argon2 and not user.argon2.get_secret_value().startswith("$argon2"):
        yield ("argon2",), "argon2: must be a hash that begins with $argon2; a password in clear goes under password"
    elif given != ["argon2"] and not user.secret:
        yield (given[0],), f"{given[0]}: is empty"


def _provider(provider: Provider) -> Iterator[Finding]:
    yield from _host(provider)
    yield from _tls(provider)
    if provider.password is not None and provider.password_file is not None:
        yield ("password_file",), "password and password_file are both there: keep one"
    if provider.ca_file:
        yield from _anchor(provider.ca_file)
    yield from _credentials(provider)


def _host(provider: Provider) -> Iterator[Finding]:
    regional = [name for name, preset in PRESETS.items() if preset.regional]
    if provider.region is not None and provider.preset not in regional:
        yield ("region",), f"region is only for the preset {' and '.join(regional)}"
    if provider.host is None and provider.preset in regional and provider.region is None:
        yield ("preset",), f"preset {provider.preset} needs a region, such as region: eu-central-1, or a host"
    elif not build.provider(provider).host:
        yield (), "a provider needs a host, or a preset that has one (preset: gmail)"


def _tls(provider: Provider) -> Iterator[Finding]:
    if provider.use_tls is None:
        return
    if provider.tls is not None:
        yield ("use_tls",), f"use_tls and tls are both there: keep tls: {provider.tls}"
    elif not provider.use_tls and provider.port == build.IMPLICIT_PORT:
        yield (
            ("use_tls",),
            "use_tls: on port 465 all is encrypted from the first byte: leave use_tls out, or choose port 587 or 25",
        )


def _anchor(path: Path) -> Iterator[Finding]:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        yield ("ca_file",), "ca_file: {it} holds no certificate in PEM form"


def _credentials(provider: Provider) -> Iterator[Finding]:
    used = build.provider(provider)
    if used.auth == "none":
        return
    if used.password and not used.username:
        yield (), "a password without a username: add username, or set auth: none"
    if used.username and not used.password and provider.username:
        yield ("username",), "a username without a password: add password or password_file, or set auth: none"
    if used.password and used.tls == "none" and not (is_loopback(used.host) or used.allow_plaintext_auth):
        key, without, with_it = (
            ("tls", "none", "starttls") if provider.use_tls is None else ("use_tls", "false", "true")
        )
        yield (
            (key,),
            f"{key}: {without} would send the password readable over the network: use {key}: {with_it}, "
            "or say allow_plaintext_auth: true",
        )


def _route(route: Route, listeners: list[str], providers: list[str]) -> Iterator[Finding]:
    listener = route.match.listener
    if listener is not None and listener not in listeners:
        yield ("match", "listener"), "listener: {it} does not exist" + did_you_mean(listener, listeners)
    for index, name in enumerate(route.providers):
        if name not in providers:
            yield ("providers", index), "providers: {it} does not exist" + did_you_mean(name, providers)


def _times(config: Config) -> Iterator[Finding]:
    retry, circuit = config.retry, config.circuit
    if retry.first > retry.max:
        yield ("retry", "first"), "first: {it} is longer than retry.max"
    if retry.warn_after is not None and retry.warn_after >= retry.give_up_after:
        yield ("retry", "warn_after"), "warn_after: {it} is not before give_up_after: write null for no warning"
    if circuit.open > circuit.max_open:
        yield ("circuit", "open"), "open: {it} is longer than circuit.max_open"
