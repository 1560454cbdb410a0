"""Rows on the spot: messages a second from the first connection until the sink has the last, and what they cost.

Called through `rows`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.ours import Config
from bench.postfix import Postfix
from bench.results import Figure
from bench.rig import Bench, Server, Values, relay_to, rig, running, turns
from bench.sink import PASSWORD, USER
from bench.traffic import EventLoad, Load, OwnSink, Sink, WebLoad, push


def rates(bench: Bench, row: str, load: Load, sink: Sink, servers: tuple[Server, ...]) -> tuple[Values, Values]:
    """Messages a second, and CPU seconds per 1,000 messages. A little of the same goes before each turn."""
    cost: Values = {server.name: [] for server in servers}

    def measure(server: Server) -> float:
        push(load.warm(), server, server.port, sink)
        before = server.cpu_seconds()
        took = push(load, server, server.port, sink)
        cost[server.name].append((server.cpu_seconds() - before) * 1000 / load.messages)
        return load.messages / took

    sides = {server.name: (lambda server=server: measure(server)) for server in servers}
    return turns(bench, row, "messages/s", sides), cost


def through(
    bench: Bench,
    row: str,
    title: str,
    load: Load,
    mark: float,
    postfix: Mapping[str, str] | None = None,
    relay: Config | None = None,
    sink: Sink | None = None,
) -> list[Figure]:
    """The row, and what it cost of processor. `sink`: when smtp-sink does not do."""
    sink = sink or Sink(bench.folder)
    with rig(bench, sink, postfix=postfix, relay=relay) as servers:
        rate, cost = rates(bench, row, load, sink, servers)
        ceiling = load.messages / push(load, sink, sink.port, sink)
    if row == "new":
        bench.facts["Postfix's rate"] = max(rate["Postfix"])
    notes = {"load": str(load), "cpu seconds per 1,000": cost} | ({"postfix": dict(postfix)} if postfix else {})
    return [
        Figure(
            row=row,
            title=title,
            unit="messages/s",
            ours=rate["relay"],
            theirs=rate["Postfix"],
            mark=mark,
            ceiling=ceiling,
            notes=notes,
        ),
        Figure(
            row=f"cpu {row}",
            title=f"CPU per 1,000 messages: {title}",
            unit="s",
            ours=cost["relay"],
            theirs=cost["Postfix"],
            mark=1.0,
            higher=False,
        ),
    ]


def new(bench: Bench) -> list[Figure]:
    return through(bench, "new", "4 KiB, new connection each", Load(bench.many(5000)), 2.5)


def kept(bench: Bench) -> list[Figure]:
    return through(bench, "kept", "4 KiB, connections kept", Load(bench.many(8000), kept=True), 4.5)


def hundred(bench: Bench) -> list[Figure]:
    return through(bench, "100k", "100 KB", Load(bench.many(3000), 100_000), 1.7, sink=OwnSink(bench.folder))[:1]


def large(bench: Bench) -> list[Figure]:
    return through(bench, "10m", "10 MB", Load(bench.many(100), 10_000_000), 1.2, sink=OwnSink(bench.folder))[:1]


def recipients(bench: Bench) -> list[Figure]:
    return through(bench, "50", "50 recipients a message", Load(bench.many(2000), recipients=50), 2.0)[:1]


def web(bench: Bench) -> list[Figure]:
    """Over HTTP, of which Postfix has none: accepted durably and delivered, from the first request on."""
    load = WebLoad(bench.many(6000))
    sink = Sink(bench.folder)
    relay = relay_to(bench, sink.port)
    cost: list[float] = []

    def measure() -> float:
        push(load.warm(), relay, relay.http, sink)
        before = relay.cpu_seconds()
        took = push(load, relay, relay.http, sink)
        cost.append((relay.cpu_seconds() - before) * 1000 / load.messages)
        return load.messages / took

    with running(sink, relay):
        rate = turns(bench, "http", "messages/s", {"relay": measure})
    notes = {"load": str(load), "cpu seconds per 1,000": cost}
    return [
        Figure(
            row="http", title="4 KiB, POST /v1/messages", unit="messages/s", ours=rate["relay"], mark=700, notes=notes
        )
    ]


def events(bench: Bench) -> list[Figure]:
    """Events of which each makes three mails by two rules: rendered in the sandbox, durable at once, delivered."""
    load = EventLoad(bench.many(3000) * 3, 512)
    sink = Sink(bench.folder)
    relay = relay_to(bench, sink.port, config={"workflows": RULES})

    def measure() -> float:
        push(load.warm(), relay, relay.http, sink)
        return load.messages / load.each / push(load, relay, relay.http, sink)

    with running(sink, relay):
        rate = turns(bench, "events", "events/s", {"relay": measure})
    return [
        Figure(
            row="events",
            title="POST /v1/events, 3 mails each",
            unit="events/s",
            ours=rate["relay"],
            mark=150,
            notes={"load": str(load)},
        )
    ]


def _mail(subject: str, **text: str) -> Config:
    return {"service": "smtp.send_email", "data": {"to": "{{ to }}", "subject": subject, **text}}


RULES: list[Config] = [
    {
        "trigger": {"type": "event", "event": "order.placed"},
        "actions": [_mail("Thank you", body="{{ text }}"), _mail("To pack", html="<p>{{ text }}</p>")],
    },
    {"trigger": {"type": "event", "event": "order.placed"}, "actions": [_mail("Sold to {{ to }}", body="{{ text }}")]},
]


def encrypted(bench: Bench) -> list[Figure]:
    """Both verify the certificate and log in; Postfix keeps TLS connections, by its tlsproxy. No TLS in the ceiling."""
    folder = bench.folder
    certify(folder)
    settings = {
        "relayhost": "[localhost]:{upstream}",
        "smtp_tls_security_level": "verify",
        "smtp_tls_CAfile": f"{folder}/ca.pem",
        "smtp_tls_connection_reuse": "yes",
        "smtp_tls_session_cache_database": "btree:$data_directory/smtp_scache",
        "smtp_sasl_auth_enable": "yes",
        "smtp_sasl_password_maps": f"static:{USER}:{PASSWORD}",
        "smtp_sasl_security_options": "noanonymous",
    }
    provider = {
        "host": "localhost",
        "tls": "starttls",
        "ca_file": f"{folder}/ca.pem",
        "username": USER,
        "password": PASSWORD,
    }
    sink = OwnSink(folder, "--certificate", f"{folder}/server.pem")
    load = Load(bench.many(4000))
    return through(bench, "tls", "4 KiB, upstream with STARTTLS and AUTH", load, 3.0, settings, provider, sink)[:1]


def certify(folder: Path) -> None:
    """ca.pem, and server.pem with chain and key, for localhost."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))


def most_of_postfix(bench: Bench) -> float:
    """How many messages a second, each on a new connection, Postfix can do: of the row `new`, or measured now."""
    if "Postfix's rate" not in bench.facts:
        sink = Sink(bench.folder)
        with rig(bench, sink) as (postfix, _):
            load = Load(bench.many(3000))
            found = [_once(load, postfix, sink) for _ in range(2)]
            bench.facts["Postfix's rate"] = max(found)
    return bench.facts["Postfix's rate"]


def _once(load: Load, postfix: Postfix, sink: Sink) -> float:
    push(load.warm(), postfix, postfix.port, sink)
    return load.messages / push(load, postfix, postfix.port, sink)
