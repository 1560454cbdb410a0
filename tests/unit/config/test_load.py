from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from relay.config.load import ConfigError, Loaded, find, load
from relay.config.rules import conditions


def loaded(folder: Path, text: str, **environ: str) -> Loaded:
    path = folder / "relay.yaml"
    path.write_text(text)
    return load(path, environ)


def refused(path: Path, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    return str(caught.value).replace(f"{path.parent}/", "")


def test_no_file_is_the_contracts_defaults() -> None:
    config = load(None, {}).config
    (listener,) = config.listeners
    assert (listener.name, str(listener.listen), listener.tls, listener.auth) == (
        "internal",
        "127.0.0.1:2525",
        "none",
        "none",
    )
    assert (listener.max_message_size, listener.max_recipients) == (35 << 20, 1000)
    assert [str(network) for network in listener.allow] == ["127.0.0.0/8", "::1/128"]
    assert (config.spool.max_size, config.history.keep, config.history.max_messages) == (10 << 30, 7 * 86400, 10**6)
    assert (config.retry.first, config.retry.factor, config.retry.max) == (30, 2, 3600)
    assert (config.retry.give_up_after, config.retry.warn_after) == (5 * 86400, 4 * 3600)
    assert (config.circuit.failures, config.circuit.open, config.circuit.max_open) == (3, 5, 30)
    assert (config.uncertain, config.shutdown_timeout, config.bounces.send) == ("retry_same", 10, True)
    assert config.http is not None
    assert (str(config.http.listen), config.http.dashboard, config.http.allow_private_providers) == (
        "127.0.0.1:8025",
        True,
        False,
    )
    assert (config.log.level, config.log.format, config.log.redact) == ("info", "auto", False)
    assert config.providers == config.routes == config.users == ()


@pytest.mark.parametrize(
    "text", ["", "\n", "# nothing\n", "---\n", "providers:\nroutes:\nhttp:\nlisteners:\n", "\ufeff"]
)
def test_an_empty_file_or_section_is_the_defaults(tmp_path: Path, text: str) -> None:
    config = loaded(tmp_path, text).config
    (tmp_path / "relay.yaml").unlink()
    assert config.model_dump(exclude={"spool"}) == load(None, {}).config.model_dump(exclude={"spool"})


def test_null_is_a_value_only_where_the_schema_has_one(tmp_path: Path) -> None:
    config = loaded(tmp_path, "http: null\nretry: {first: null, warn_after: ~}\nlog: null\n").config
    assert config.http is None
    assert (config.retry.first, config.retry.warn_after, config.log.level) == (30, None, "info")


def test_numbers_stay_text_where_text_is_wanted(tmp_path: Path) -> None:
    text = "providers: [{name: 007, host: 1e5.example, username: 12_3, password: 0123, tls: none, host: 127.0.0.1}]"
    assert "twice" in refused_text(tmp_path, text)
    provider = loaded(tmp_path, text.replace("host: 1e5.example, ", "")).config.providers[0]
    assert (provider.name, provider.username, provider.secret) == ("007", "12_3", "0123")


def refused_text(folder: Path, text: str) -> str:
    (folder / "relay.yaml").write_text(text)
    return refused(folder / "relay.yaml")


def test_yaml_booleans_that_are_choices(tmp_path: Path) -> None:
    provider = loaded(
        tmp_path, "providers: [{name: p, preset: mailpit, pipelining: off, active: no}]"
    ).config.providers[0]
    assert (provider.pipelining, provider.active) == ("off", False)


def test_everything_in_the_contracts_example(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    config = loaded(
        tmp_path,
        """
        hostname: relay.internal
        listeners:
          - {name: internal, listen: 127.0.0.1:2525}
          - {name: office, listen: "[::]:25", allow: [10.0.0.0/8, "::1"], auth: required}
          - {name: local, listen: unix:/run/relay/smtp.sock, auth: any, identity: invoices}
          - {name: passed, listen: fd:smtp}
        users: [{name: crm, password_file: password}, {name: erp, argon2: "$argon2id$v=19$m=65536,t=3,p=4$YQ$Yg"}]
        providers:
          - name: primary
            preset: gmail
            username: me@example.com
            password: ${GMAIL_APP_PASSWORD}
            limits: {connections: 5, recipients: 100, per_minute: 20, per_month: 60000, count: messages, timezone: UTC}
            timeouts: {connect: 30s, command: 60s, data: 10m}
        routes:
          - match: {listener: internal, client: 10.0.0.0/8, user: crm, sender: "*@b.example", header: {X-App: crm}}
            providers: [primary]
            rewrite: {envelope_from: bounce@b.example, header_from: "Billing <billing@b.example>", reply_to: keep}
          - {providers: primary}
        identities: {invoices: {address: billing@b.example, name: Billing, reply_to: help@b.example}}
        bounces: {send: true, from: null, to: ops@b.example}
        control: run/relay.sock
        """,
        GMAIL_APP_PASSWORD="abcd",
    ).config
    assert [str(listener.listen) for listener in config.listeners] == [
        "127.0.0.1:2525",
        "[::]:25",
        "unix:/run/relay/smtp.sock",
        "fd:smtp",
    ]
    assert [user.secret for user in config.users] == ["s3cret", ""]
    assert config.providers[0].secret == "abcd"
    assert config.routes[1].providers == ("primary",)
    assert config.control_path == tmp_path / "run/relay.sock"
    assert config.bounces.to == "ops@b.example"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = loaded(tmp_path, "").config
    assert config.spool.path == tmp_path / "var/spool.db"
    assert config.control_path == tmp_path / "var/relay.sock"
    assert config.key_path == tmp_path / "var/secret.key"
    absolute = loaded(tmp_path, "spool: {url: sqlite:////srv/mail/../spool.db}\n").config
    assert absolute.spool.path == Path("/srv/spool.db")
    assert load(None, {}).config.spool.path == Path.cwd() / "var/spool.db"


def test_tls_with_a_certificate_and_its_key(tmp_path: Path) -> None:
    authority = trustme.CA()
    for name in ("a", "b"):
        server = authority.issue_cert(f"{name}.example")
        server.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        server.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    text = (
        "listeners: [{name: x, listen: 127.0.0.1:25, tls: starttls, cert: a.pem, key: KEY.key}]\n"
        "providers: [{name: p, host: mail.example, ca_file: ca.pem}]\n"
    )
    assert loaded(tmp_path, text.replace("KEY", "a")).config.listeners[0].cert == tmp_path / "a.pem"
    assert refused_text(tmp_path, text.replace("KEY", "b")) == (
        "relay.yaml:1:66: cert and key cannot be used together: the key belongs to another certificate"
    )


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.yaml") == "none.yaml: the configuration cannot be read: no such file or directory"
    (tmp_path / "folder").mkdir()
    assert refused(tmp_path / "folder") == "folder: the configuration cannot be read: is a directory"
    (tmp_path / "latin").write_bytes(b"hostname: a\nsender: {name: M\xfcller}\n")
    assert refused(tmp_path / "latin") == "latin:2:17: this is not UTF-8: save the file as UTF-8"
    (tmp_path / "nul").write_bytes(b"hostname: a\nlog: \x00\n")
    assert refused(tmp_path / "nul") == "nul:2:1: a character that YAML does not allow: remove it"
    (tmp_path / "huge").write_bytes(b"#" * (5 << 20))
    assert refused(tmp_path / "huge") == "huge: the configuration is larger than 4 MiB: this is no configuration"


def test_find_takes_the_named_file_then_the_usual_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find({"RELAY_CONFIG": "else.yaml"}) == Path("else.yaml")
    assert find({}) in (None, Path("/etc/relay/relay.yaml"))
    (tmp_path / "relay.yaml").touch()
    assert find({"RELAY_CONFIG": ""}) == Path("relay.yaml")


def test_an_open_relay_is_warned_of(tmp_path: Path) -> None:
    text = "listeners: [{name: x, listen: 0.0.0.0:25, allow: 0.0.0.0/0, auth: none}]\n"
    assert loaded(tmp_path, text).warnings == (
        "listener 'x' takes mail from everybody: narrow allow, or set auth: required",
    )


@pytest.mark.parametrize("scopes", ["", ", scopes: [queue]", ", scopes: [admin]"])
def test_auth_required_depends_on_who_exists(tmp_path: Path, scopes: str) -> None:
    """Users are in the file or added by hand, which only a start can see."""
    text = "listeners: [{name: x, listen: '127.0.0.1:25', auth: required}]\n"
    users = f"users: [{{name: crm, password: pw{scopes}}}]\n"
    [sentence] = conditions(loaded(tmp_path, text).config)
    assert "listener 'x' has auth: required" in sentence
    assert "relay user add NAME" in sentence
    assert len(list(conditions(loaded(tmp_path, text + users).config))) == ("queue" in scopes)
    assert not list(conditions(loaded(tmp_path, users).config))


def test_H8_secrets_are_in_no_representation(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("canary-2")
    result = loaded(
        tmp_path,
        "providers: [{name: p, preset: gmail, username: u, password: canary-1}]\n"
        "users: [{name: a, password_file: file}, {name: b, argon2: $argon2-canary-3}]\n",
    )
    assert "canary" not in repr(result) + str(result.config.model_dump()) + result.config.model_dump_json()
