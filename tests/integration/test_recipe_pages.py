"""What all pages of docs/recipes have in common, the index's own settings, and Grafana's page, which nothing runs."""

from __future__ import annotations

import configparser
import re
import smtplib
import socket
import ssl
from pathlib import Path

import pytest
from certificates import Certificate
from clients import Door, letter, send, smtp
from recipe_pages import PAGES, SECRET, blocks, commands, shown, words
from recipe_world import MAKE, PASSWORD, UPSTREAM
from relay_process import Relay, provider
from waiting import free_port, until

from relay.config.load import load

NAMES = sorted(path.name for path in PAGES.glob("*.md") if path.name != "README.md")
GRAFANA = {
    *("enabled", "host", "user", "password", "cert_file", "key_file", "skip_verify", "from_address", "from_name"),
    *("ehlo_identity", "starttls_policy", "enable_tracing"),
}
"""The keys of [smtp] in Grafana's conf/defaults.ini."""


def test_the_index_names_every_page() -> None:
    assert re.findall(r"^\| \[.*?\]\((\w+\.md)\)", (PAGES / "README.md").read_text(), re.M) == NAMES


@pytest.mark.parametrize("name", ["README.md", *NAMES])
def test_links_lead_somewhere(name: str) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]+)(?:#([\w-]+))?\)", (PAGES / name).read_text()):
        text = (PAGES / target).read_text()
        headings = [heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.*)$", text, re.M)]
        assert not anchor or anchor in headings, (target, anchor)


@pytest.mark.parametrize("name", NAMES)
def test_every_page_has_its_parts(name: str) -> None:
    text = (PAGES / name).read_text()
    assert re.findall(r"^## (.*)$", text, re.M) == [SECRET, "When nothing arrives"]
    [waits, taken] = commands(name, "relay queue list")
    assert "127.0.0.1" in text and "2525" in text
    assert words(taken) == [*words(waits), "--state", "accepted"]


@pytest.mark.parametrize("section", [block.section for block in blocks("README.md") if block.language == "yaml"])
def test_settings_of_the_index(section: str, certificate: Certificate, tmp_path: Path) -> None:
    text = shown("README.md", "relay.yaml", section)
    for name in ("cert", "key"):
        text = text.replace(f"/etc/relay/{name}.pem", str(getattr(certificate, name)))
    (tmp_path / "relay.yaml").write_text(text)
    loaded = load(tmp_path / "relay.yaml", {"APP_PASSWORD": PASSWORD})
    assert loaded.config.listeners[0].listen.port == 2525


def test_commands_of_the_index(relay: MAKE) -> None:
    one = relay().start()
    for line in commands("README.md", "relay queue list"):
        done = one.cli(*words(line)[1:])
        assert (done.returncode, done.stdout) == (0, ""), (line, done.stderr)


def test_grafana_settings_exist() -> None:
    read = configparser.ConfigParser(interpolation=None)
    read.read_string(shown("grafana.md", "/etc/grafana/grafana.ini"))
    read.read_string(shown("grafana.md", "/etc/grafana/grafana.ini", SECRET))
    assert read.sections() == ["smtp"]
    assert set(read["smtp"]) <= GRAFANA
    assert read["smtp"]["startTLS_policy"] in ("NoStartTLS", "OpportunisticStartTLS", "MandatoryStartTLS")
    named = set(re.findall(r"GF_SMTP_(\w+)", (PAGES / "grafana.md").read_text()))
    assert {name.lower() for name in named} <= GRAFANA


def test_words_of_the_log(relay: MAKE, ledger: UPSTREAM, certificate: Certificate) -> None:
    """What the index says the log says: by mail that goes, waits and is refused, by clients that are turned away."""
    upstream = ledger()
    upstream.script.recipients = {"no@example.com": "550 5.1.1 Nobody", "later@example.com": "450 4.2.0 Later"}
    one = relay(providers=[provider("one", upstream.port)], users=[{"name": "app", "password": PASSWORD}])
    more = {
        "far": {"allow": ["10.0.0.0/8"]},
        "auth": {"auth": "required"},
        "tls": {"tls": "starttls", "cert": str(certificate.cert), "key": str(certificate.key)},
    }
    ports = {name: free_port() for name in more}
    one.config["listeners"] += [
        {"name": name, "listen": f"127.0.0.1:{ports[name]}"} | given for name, given in more.items()
    ]
    one.start()
    for local in ("you", "no", "later"):
        send(one.door, [f"{local}@example.com"], letter())
    for door in (Door(ports["far"]), Door(ports["auth"]), Door(ports["auth"], user="app", password="wrong")):
        with pytest.raises((smtplib.SMTPException, OSError)):
            send(door, ["you@example.com"], letter())
    with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", one.smtp_port), 10) as plain:
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")
    with pytest.raises(ssl.SSLError), smtp(Door(ports["tls"])) as client:
        client.starttls(context=ssl.create_default_context())
    named = words_of_the_index() - {"captured", "reply", "provider"}  # these are fields
    until(lambda: named <= said_by(one), 10, f"the log says all of {named}")


def words_of_the_index() -> set[str]:
    table = re.findall(r"^\| (`.*?) \|", (PAGES / "README.md").read_text(), re.M)
    return {word for cell in table for word in re.findall(r"`([^`]+)`", cell)}


def said_by(one: Relay) -> set[str]:
    refused = {str(line["reply"]) for line in one.events("command refused")}
    return {str(line["event"]) for line in one.log()} | refused
