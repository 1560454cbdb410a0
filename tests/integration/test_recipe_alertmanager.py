"""docs/recipes/alertmanager.md with the real Alertmanager: its settings, its alert, what it says of missing TLS."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from certificates import Certificate
from recipe_pages import SECRET, command, shown
from recipe_world import MAKE, UPSTREAM, World, done, running, world
from waiting import free_port, program, until

PAGE = "alertmanager.md"
FILE = "/etc/prometheus/alertmanager.yml"
LAX = "  smtp_require_tls: false      # the default is true\n"


@dataclass(frozen=True)
class Alertmanager:
    port: int
    folder: Path

    @property
    def log(self) -> str:
        return (self.folder / "alertmanager.log").read_text()

    def ready(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5).status == 200)
        return False

    def page_alert(self) -> str:
        """What the page types to fire one."""
        program("curl")
        return command(PAGE, "curl").replace("9093", str(self.port))


def settings(here: World, section: str) -> str:
    """The page's file; a second instead of the minute between the notices of a group."""
    text = shown(PAGE, FILE).replace("group_interval: 1m", "group_interval: 1s")
    if section == "With TLS":
        assert LAX in text
        text = text.replace(LAX, "")
    merged = yaml.safe_load(here.adapted(text))
    if section == SECRET:
        merged["global"] |= yaml.safe_load(here.adapted(shown(PAGE, FILE, SECRET)))["global"]
    return yaml.safe_dump(merged, sort_keys=False)


@contextlib.contextmanager
def alertmanager(text: str, folder: Path, ca: Path | None = None) -> Iterator[Alertmanager]:
    one = Alertmanager(free_port(), folder)
    (folder / "alertmanager.yml").write_text(text)
    options = {
        "config.file": folder / "alertmanager.yml",
        "storage.path": folder / "alerts",
        "web.listen-address": f"127.0.0.1:{one.port}",
        "cluster.listen-address": "",
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    environment = os.environ | ({"SSL_CERT_FILE": str(ca)} if ca else {})
    with running([program("prometheus-alertmanager"), *given], folder / "alertmanager.log", environment):
        until(one.ready, 15, "Alertmanager is ready")
        yield one


@pytest.mark.parametrize("section", ["", SECRET, "With TLS"])
def test_an_alert_is_a_mail(
    relay: MAKE, ledger: UPSTREAM, certificate: Certificate, tmp_path: Path, section: str
) -> None:
    here = world(relay, ledger, section, certificate)
    with alertmanager(settings(here, section), tmp_path, certificate.ca) as one:
        done(["sh", "-c", one.page_alert()], tmp_path)
        mail = here.mail()
        if not section:
            resolve(one)
            assert here.mails(2)[1].message["Subject"].startswith("[RESOLVED] Try")
            here.is_told(PAGE)
    assert mail.taken.sender == "alertmanager@example.com"
    assert mail.recipients == ["oncall@example.com", "ops@example.com"]
    assert mail.message["Subject"].startswith("[FIRING:1] Try")
    assert "Only a try." in mail.message.as_string()
    [accepted, *_] = here.relay.events("message accepted")
    assert accepted.get("user") == ("app" if section == SECRET else None)


def resolve(one: Alertmanager) -> None:
    ended = {"labels": {"alertname": "Try", "instance": "db1"}, "endsAt": datetime.now(UTC).isoformat()}
    request = urllib.request.Request(
        f"http://127.0.0.1:{one.port}/api/v2/alerts", json.dumps([ended]).encode(), {"Content-Type": "application/json"}
    )
    assert urllib.request.urlopen(request, timeout=10).status == 200


def test_without_the_line_it_says_what_the_page_says(relay: MAKE, ledger: UPSTREAM, tmp_path: Path) -> None:
    here = world(relay, ledger)
    with alertmanager(settings(here, "With TLS"), tmp_path) as one:
        done(["sh", "-c", one.page_alert()], tmp_path)
        until(lambda: "require_tls" in one.log, 15, "Alertmanager wants TLS")
        said = here.adapted(
            """'require_tls' is true (default) but "127.0.0.1:2525" does not advertise the STARTTLS extension"""
        )
        assert said in one.log.replace('\\"', '"')
    assert not here.upstream.taken
