"""The one schema: every setting with its type, default, bounds and a line of explanation.

Called by `load` to validate, by `example` and `json_schema` to write it down. It checks single values; what concerns
two of them is in `rules`. Defaults are written as a person would write them, and validated like anything else.
"""

from __future__ import annotations

import re
import socket
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, WithJsonSchema

from relay.config.automation import MOST_WORKFLOWS, Workflow
from relay.config.presets import PRESETS
from relay.config.section import Section, needed, option, section
from relay.config.types import (
    Duration,
    File,
    HeaderName,
    Host,
    KeepOrMailbox,
    Limit,
    Listen,
    MailAddress,
    Mailbox,
    Networks,
    PasswordFile,
    ReadableFile,
    Scopes,
    Size,
    SqliteUrl,
    TcpListen,
    Text,
    Texts,
    Timezone,
    provider_name,
)
from relay.config.words import did_you_mean

LONGEST_NAME = 100  # of a provider
DEFAULT_LISTENER = {"name": "internal", "listen": "127.0.0.1:2525"}


@cache
def machine_name() -> str:
    """This machine's name as it knows it, without asking DNS."""
    name = socket.gethostname().lower().rstrip(".")
    return name if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", name) else "localhost"


def known_preset(name: str) -> str:
    if name not in PRESETS:
        raise ValueError("{it} is no preset" + (did_you_mean(name, PRESETS) or f": there are {', '.join(PRESETS)}"))
    return name


class Listener(Section):
    """A place where applications hand in mail."""

    name: Text = needed("what logs, metrics and routes call it", "internal")
    listen: Listen = needed("host:port, unix:/run/relay/smtp.sock, or a systemd socket fd:smtp", "127.0.0.1:2525")
    allow: Networks = option(("127.0.0.0/8", "::1"), "networks that may connect; required when not loopback")
    tls: Literal["none", "starttls", "implicit"] = option("none", "none | starttls | implicit, with cert and key")
    cert: ReadableFile | None = option(None, "certificate chain, PEM", "/etc/relay/cert.pem")
    key: ReadableFile | None = option(None, "its private key, PEM", "/etc/relay/key.pem")
    auth: Literal["none", "optional", "required", "any"] = option(
        "none", "none | optional | required | any (takes all, checks nothing)"
    )
    max_message_size: Size = option("35MiB", "beyond it: 552", ge=1)
    max_recipients: int = option(1000, "per message; beyond it: 452", ge=1)
    max_connections: int = option(1000, "at once; beyond it: 421", ge=1)
    max_connections_per_client: int = option(50, "at once from one address", ge=1)
    line_endings: Literal["normalize", "reject"] = option("normalize", "bare CR or LF: normalize | reject")
    identity: Text | None = option(None, "which of identities mail from here is sent as", "invoices")


class User(Section):
    """Somebody who may use listeners with AUTH, and HTTP."""

    name: Text = needed("the user name", "crm")
    password: SecretStr | None = option(None, "one of password, password_file and argon2", "${CRM_PASSWORD}")
    password_file: PasswordFile | None = option(None, "a file with the password", "/run/secrets/crm")
    argon2: SecretStr | None = option(None, "a hash as argon2 prints it", "$argon2id$v=19$m=65536,t=3,p=4$...")
    scopes: Scopes = option(("send", "queue", "providers"), "what this user may do; admin: all of it")

    @property
    def secret(self) -> str:
        """The password in clear, "" where only its hash is known."""
        return clear(self.password, self.password_file)


class Spool(Section):
    url: SqliteUrl = option("sqlite:///var/spool.db", "sqlite:/// from this file's folder, sqlite://// absolute")
    max_size: Size = option("10GiB", "of live mail; beyond it, or when the disk is low: 452", ge=1)

    @property
    def path(self) -> Path:
        return Path(self.url.removeprefix("sqlite:///"))


class History(Section):
    keep: Duration = option("7d", "how long")
    max_messages: int = option(1000000, "and how many at most", ge=0)


class Limits(Section):
    """What one provider may be given. Null or missing: no limit."""

    connections: Limit | None = option(None, "at once", 5)
    recipients: Limit | None = option(None, "per transaction; more are split", 100)
    per_minute: Limit | None = option(None, "never more in any 60 s", 20)
    per_day: Limit | None = option(None, "per calendar day", 2000)
    per_month: Limit | None = option(None, "per calendar month", 60000)
    count: Literal["messages", "recipients"] = option("messages", "what is counted: messages | recipients")
    timezone: Timezone = option("UTC", "where the day begins")


class Timeouts(Section):
    connect: Duration = option("30s", "TCP, TLS and banner, each", gt=0)
    command: Duration = option("60s", "any reply", gt=0)
    data: Duration = option("10m", "the body, and the reply to its end", gt=0)


class Provider(Section):
    """An upstream that takes our mail. What is missing comes from the preset."""

    name: Annotated[Text, Field(max_length=LONGEST_NAME), AfterValidator(provider_name)] | None = option(
        None, "what routes, logs and metrics call it; default: its host, or preset", "primary"
    )
    preset: Annotated[Text, AfterValidator(known_preset), WithJsonSchema({"enum": list(PRESETS)})] | None = option(
        None, "fills in host, port, tls, limits; every field can be overridden", "gmail"
    )
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = option(
        None, "for presets whose host has one (ses)", "eu-central-1"
    )
    host: Host | None = option(None, "default: the preset's", "smtp.gmail.com")
    port: Annotated[int, Field(ge=1, le=65535)] | None = option(None, "default: the preset's, else 587", 587)
    tls: Literal["none", "opportunistic", "starttls", "implicit"] | None = option(
        None, "none | opportunistic | starttls | implicit (default on 465)", "starttls"
    )
    use_tls: bool | None = option(None, "instead of tls. true: starttls, on 465 implicit; false: none", True)
    ca_file: ReadableFile | None = option(None, "extra trust anchor; certificates are verified", "/etc/relay/ca.pem")
    allow_plaintext_auth: bool = option(False, "without TLS a password goes to loopback hosts only, unless true")
    username: Text | None = option(None, "no user name: no AUTH", "me@example.com")
    password: SecretStr | None = option(None, "or password_file", "${GMAIL_APP_PASSWORD}")
    password_file: PasswordFile | None = option(None, "a file with the password", "/run/secrets/gmail")
    auth: Literal["auto", "plain", "login", "cram-md5", "none"] | None = option(
        None, "auto | plain | login | cram-md5 | none", "auto"
    )
    pipelining: Literal["auto", "off"] | None = option(None, "auto | off (broken middleboxes)", "auto")
    priority: int = option(1, "lower first", ge=1)
    weight: int = option(1, "share among equals", ge=1)
    active: bool = option(True, "false: kept, but given no mail")
    limits: Limits = section("null or missing: no limit, or the preset's")
    timeouts: Timeouts = section("how long to wait for it")

    @property
    def called(self) -> str:
        """Its name, "" when it has none and nothing that could be one."""
        return self.name or self.host or self.preset or ""

    @property
    def secret(self) -> str:
        """The password in clear, "" without one."""
        return clear(self.password, self.password_file)


class Match(Section):
    """Conditions, all of which must hold. Addresses and values are globs without regard to case."""

    listener: Text | None = option(None, "where it came in", "internal")
    client: Networks | None = option(None, "from where: a network, or a list", "10.0.0.0/8")
    user: Text | None = option(None, "who sent it, with AUTH", "crm")
    sender: Text | None = option(None, "of the envelope", "*@billing.example.com")
    recipient: Text | None = option(None, "of the envelope", "*")
    header: dict[HeaderName, str] = Field(
        default_factory=dict, description="names and values of headers", examples=[{"X-App": "crm"}]
    )


class Rewrite(Section):
    envelope_from: MailAddress | None = option(None, "where bounces go", "bounce@example.com")
    header_from: Mailbox | None = option(None, "what people see", "Billing <billing@example.com>")
    reply_to: KeepOrMailbox = option("keep", "keep, or an address")


class Route(Section):
    """First match wins, per recipient."""

    match: Match = section("conditions, all of which must hold; none: everything")
    providers: Texts = option((), "only these; order is always priority, then weight", ["primary"])
    rewrite: Rewrite | None = option(None, "what to change on the way")


class Sender(Section):
    address: MailAddress | None = option(None, "default: the first provider's user name, or relay@<hostname>")
    name: Text | None = option(None, "shown beside it")


class Identity(Section):
    """A sender that mail can pick by name."""

    address: MailAddress = needed("From", "billing@example.com")
    name: Text | None = option(None, "shown beside it", "Billing")
    reply_to: Mailbox | None = option(None, "Reply-To", "help@example.com")


class Retry(Section):
    first: Duration = option("30s", "before the second try", gt=0)
    factor: float = option(2, "each wait is so much longer", ge=1)
    max: Duration = option("1h", "but never longer than this", gt=0)
    give_up_after: Duration = option("5d", "then it bounces", gt=0)
    warn_after: Duration | None = option("4h", "then the sender is told of the delay; null: never")


class Circuit(Section):
    failures: int = option(3, "failed connections in a row, then it rests", ge=1)
    open: Duration = option("5s", "so long at first", gt=0)
    max_open: Duration = option("30s", "so long at most", gt=0)


class Bounces(Section):
    send: bool = option(True, "false: failures are in the log and history only")
    from_: Mailbox | None = option(None, "default: postmaster@<hostname>", alias="from")
    to: MailAddress | None = option(None, "one mailbox for all of them; default: the sender")


class Secrets(Section):
    key_file: Text = option("secret.key", "beside the spool, 0600, made at first start")


class Http(Section):
    listen: TcpListen = option("127.0.0.1:8025", "host:port")
    dashboard: bool = option(True, "the pages for people")
    allow_private_providers: bool = option(False, "providers made by the API may be in private networks")


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = option("info", "debug | info | warning | error")
    format: Literal["auto", "console", "json"] = option("auto", "console on a terminal, JSON otherwise")
    redact: bool = option(False, "true: local parts of addresses are masked, b…@example.org")


class Config(Section):
    """Everything the relay can be told."""

    hostname: Host = Field(
        default_factory=machine_name,
        description="Our name in greetings and Received lines; default: this machine's. A change needs a restart.",
        examples=["relay.internal"],
    )
    listeners: tuple[Listener, ...] = Field(
        default_factory=lambda: (DEFAULT_LISTENER,),
        validate_default=True,
        description="Where applications hand in mail.",
    )
    users: tuple[User, ...] = option((), "Who may use listeners with AUTH, and HTTP.")
    spool: Spool = section("Where mail is kept until it is handed over. A change needs a restart.")
    history: History = section("What became of ended messages, without bodies.")
    providers: tuple[Provider, ...] = option((), "Who takes our mail. None at all: it is captured, nothing is sent.")
    routes: tuple[Route, ...] = option(
        (), "Which mail goes where: first match wins, per recipient; no match: every active provider."
    )
    sender: Sender = section("Of mail composed here (HTTP, events, notices) that names none.")
    identities: dict[str, Identity] = Field(
        default_factory=dict,
        description="Senders that mail can pick by name: an API field, the header X-Relay-Identity, or the listener.",
    )
    workflows: tuple[Workflow, ...] = option(
        (),
        "What mail an event causes (POST /v1/events). {{ }} and {% %} are templates (Jinja2) over the event's data; "
        "$$ is a dollar here, too. What is written here can be read over HTTP: keep secrets out of it.",
        max_length=MOST_WORKFLOWS,
    )
    retry: Retry = section("When to try again.")
    circuit: Circuit = section("When to let a provider rest whose host fails.")
    uncertain: Literal["retry_same", "failover", "hold"] = option(
        "retry_same", "The answer to a message was lost, it may have been taken: retry_same | failover | hold"
    )
    bounces: Bounces = section("Telling senders what failed.")
    secrets: Secrets = section("The key that encrypts passwords in the spool.")
    http: Http | None = Field(
        default_factory=dict,
        description="API and dashboard; null: none. A change needs a restart.",
        validate_default=True,
    )
    control: File | None = option(
        None, "The unix socket of the command line; default: relay.sock beside the spool.", "/run/relay/relay.sock"
    )
    shutdown_timeout: Duration = option("10s", "How long a stop waits for what is being sent.")
    log: Log = section("What is written to standard error. Never secrets, subjects or content.")

    @property
    def control_path(self) -> Path:
        return self.control or self.spool.path.parent / "relay.sock"

    @property
    def key_path(self) -> Path:
        return self.spool.path.parent / self.secrets.key_file


def clear(password: SecretStr | None, file: Any) -> str:
    secret = password or (file and file.content)
    return secret.get_secret_value() if secret else ""


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of the configuration file, for editors."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "smtp-relay configuration"}
