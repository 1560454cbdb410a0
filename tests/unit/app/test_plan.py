"""The plan: goes from one process to another, and what a reload takes from a new one."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relay.app.build import plan
from relay.app.plan import Plan, restart_needed, without_restart
from relay.config.load import Loaded
from relay.config.schema import Config
from relay.model import Scope
from relay.store.users import FileUser, Secret

FULL: dict[str, Any] = {
    "hostname": "relay.example",
    "listeners": [{"name": "all", "listen": "0.0.0.0:25", "allow": ["10.0.0.0/8", "::1"], "auth": "optional"}],
    "users": [{"name": "crm", "password": "canary-7351"}],
    "providers": [{"name": "p", "preset": "gmail", "username": "u", "password": "canary-7352"}],
    "routes": [
        {"match": {"header": {"X-App": "crm"}}, "providers": "p", "rewrite": {"envelope_from": "b@relay.example"}}
    ],
    "http": {"listen": "[::1]:8025"},
    "workflows": [
        {
            "trigger": {"type": "event", "event": "user.created"},
            "if": "user.active",
            "actions": [
                {
                    "service": "smtp.send_email",
                    "data": {
                        "to": "{{ user.email }}",
                        "subject": "Welcome",
                        "html": "<p>{{ user.name }}</p>",
                        "attachments": [{"filename": "a.txt", "content": "{{ terms }}"}],
                    },
                }
            ],
        }
    ],
}


def planned(given: dict[str, Any]) -> Plan:
    return plan(Loaded(config=Config.model_validate(given), path=Path("relay.yaml"), warnings=("mind this",)))


def test_a_plan_has_all_that_the_rooms_are_told() -> None:
    made = planned(FULL)
    assert (made.source, made.warnings, made.hostname) == (Path("relay.yaml"), ("mind this",), "relay.example")
    [listener] = made.listeners
    assert (listener.address, listener.hostname) == ("0.0.0.0:25", "relay.example")
    usual = frozenset({Scope.SEND, Scope.QUEUE, Scope.PROVIDERS})
    assert made.users == (FileUser(name="crm", secret=Secret(clear="canary-7351"), scopes=usual),)
    admin = planned({"users": [{"name": "a", "argon2": "$argon2id$x", "scopes": "admin"}]}).users[0]
    assert (admin.secret.hash, admin.scopes) == ("$argon2id$x", {Scope.ADMIN})
    assert listener.wanted == {"x-app"}
    assert [(provider.host, provider.password) for provider in made.providers] == [("smtp.gmail.com", "canary-7352")]
    assert (str(made.http), made.control.name, made.log.format) == ("[::1]:8025", "relay.sock", "auto")
    assert planned({"http": None}).http is None
    assert [(one.name, one.event, one.origin) for one in made.workflows] == [("user.created", "user.created", "file")]


@pytest.mark.parametrize("given", [{}, FULL], ids=["defaults", "full"])
def test_a_plan_arrives_in_another_process_as_it_was(given: dict[str, Any]) -> None:
    made = planned(given)
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_plan_is_read_without_what_the_configuration_is_read_with() -> None:
    program = (
        "import pickle, sys; pickle.load(sys.stdin.buffer); print(sorted({'pydantic', 'yaml', 'jinja2'} & "
        "set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(planned(FULL)), capture_output=True, check=True
    )
    assert done.stdout == b"[]\n"


def test_H8_a_plan_does_not_show_its_secrets() -> None:
    assert "canary" not in repr(planned(FULL))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({}, ()),
        ({"hostname": "other.example"}, ("hostname",)),
        ({"spool": {"url": "sqlite:///else/spool.db"}}, ("spool", "control", "secrets")),
        ({"http": {"allow_private_providers": True}}, ("http",)),
        ({"http": {"listen": "127.0.0.1:9", "allow_private_providers": True}}, ("http",)),
        ({"spool": {"max_size": "1GiB"}}, ()),
        ({"http": None}, ("http",)),
        ({"http": {"listen": "127.0.0.1:9"}}, ("http",)),
        ({"control": "/run/r.sock"}, ("control",)),
        ({"listeners": [{"name": "b", "listen": "127.0.0.1:26"}], "retry": {"max": "2h"}}, ()),
    ],
)
def test_what_needs_a_restart(changed: dict[str, Any], named: tuple[str, ...]) -> None:
    assert restart_needed(planned({}), planned(changed)) == named


def test_a_reload_puts_in_force_what_it_can() -> None:
    old = planned({"hostname": "old.example", "spool": {"url": "sqlite:////old/spool.db"}})
    new = planned(
        {
            "hostname": "new.example",
            "spool": {"url": "sqlite:////new/spool.db", "max_size": "1GiB"},
            "http": {"listen": "127.0.0.1:9"},
            "log": {"level": "debug"},
        }
    )
    merged = without_restart(old, new)
    assert (merged.hostname, merged.spool, merged.http, merged.control) == (
        old.hostname,
        old.spool,
        old.http,
        old.control,
    )
    assert {merged.delivery.hostname, *(settings.hostname for settings in merged.listeners)} == {"old.example"}
    assert (merged.limits.max_size, merged.log.level) == (1 << 30, "debug")
