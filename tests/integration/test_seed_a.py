"""Seed a, replayed: its workflows as they stand, its settings, its service and the settings of well-known hosts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import pytest
import yaml
from certificates import Certificate
from http_door import Http, http_of
from ledger import Ledger
from postfix import Postfix, serving
from relay_process import Relay, provider
from seed_files import code, text
from seed_world import trusting

MAKE = Callable[..., Relay]
FRAGMENT, WELCOME, ONBOARDING = code("a", "yaml")
TOLD = {
    "user.created": {"user": {"email": "ann@example.com", "username": "ann", "name": "Ann"}},
    "employee.created": {
        "employee": {"first_name": "Zoë", "last_name": "O'Neil", "personal_number": 17, "department": "R&D <labs>"}
    },
}


def parsed(data: bytes) -> EmailMessage:
    return BytesParser(policy=policy.default).parsebytes(data)  # type: ignore[return-value]


def told(door: Http, event: str, **headers: str) -> dict[str, Any]:
    outcome: dict[str, Any] = door("POST", "/v1/events", {"event": event, "data": TOLD[event]}, **headers).must(202)
    return outcome


def welcome_arrived(upstream: Ledger) -> None:
    (mail,) = upstream.wait_for(1)
    assert mail.recipients == ("ann@example.com",)
    got = parsed(mail.data)
    assert got["Subject"] == "Welcome to faneX-ID"
    assert got.get_content().strip() == "Hello ann, your account has been created successfully."


def test_the_files_three_workflows_are_read() -> None:
    assert [sorted(yaml.safe_load(each)) for each in (FRAGMENT, WELCOME, ONBOARDING)] == [
        ["actions"],
        ["actions", "trigger"],
        ["actions", "trigger"],
    ]


def configured(one: Relay, *documents: str) -> None:
    """The configuration with the seed's text itself in it, as somebody would paste it, only indented."""
    one.write()
    lines = ["workflows:"]
    for document in documents:
        first, *others = document.rstrip("\n").split("\n")
        lines += [f"  - {first}", *[f"    {line}" if line else "" for line in others]]
    one.file.write_text(one.file.read_text() + "\n".join(lines) + "\n")
    one.start(write=False)


def test_workflows_in_the_configuration(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)])
    configured(one, FRAGMENT, WELCOME, ONBOARDING)
    door = http_of(one)
    outcome = told(door, "user.created")
    assert (len(outcome["messages"]), outcome["failed"], outcome["skipped"]) == (1, [], [])
    welcome_arrived(upstream)
    told(door, "employee.created")
    mail = upstream.wait_for(2)[1]
    assert mail.recipients == ("hr@example.com",)
    got = parsed(mail.data)
    assert got["Subject"] == "New Employee: Zoë O'Neil"
    lines = got.get_content().strip().splitlines()
    assert lines[0] == "A new employee has been added to the system:"
    assert lines[-3:] == ["Name: Zoë O'Neil", "Personal Number: 17", "Department: R&D <labs>"]


@pytest.mark.parametrize("media_type", ["application/yaml", "application/json"])
def test_workflows_over_http(relay: MAKE, ledger: Callable[[], Ledger], media_type: str) -> None:
    upstream = ledger()
    door = http_of(relay(providers=[provider("one", upstream.port)]).start())
    for document in (WELCOME, ONBOARDING):
        if media_type == "application/yaml":
            made = door.send("POST", "/v1/workflows", document.encode(), {"Content-Type": media_type})
        else:
            made = door("POST", "/v1/workflows", yaml.safe_load(document))
        assert made.must(201)["version"] == 1
    told(door, "user.created")
    welcome_arrived(upstream)
    told(door, "employee.created")
    assert upstream.wait_for(2)[1].recipients == ("hr@example.com",)


def test_the_example_action_which_names_no_trigger_is_run_by_its_name(
    relay: MAKE, ledger: Callable[[], Ledger]
) -> None:
    upstream = ledger()
    door = http_of(relay(providers=[provider("one", upstream.port)]).start())
    made = door.send("POST", "/v1/workflows", FRAGMENT.encode(), {"Content-Type": "application/yaml"}).must(201)
    door("POST", f"/v1/workflows/{made['name']}/run", {"data": {"user": {"name": "Ann"}}}).must(202)
    (mail,) = upstream.wait_for(1)
    assert mail.recipients == ("user@example.com",)
    assert parsed(mail.data).get_content().strip() == "Hello Ann, welcome to the platform!"


def test_the_service_with_the_parameters_it_names(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    section = text("a").partition("### `smtp.send_email`")[2].partition("**Example")[0]
    parameters = re.findall(r"^- `(\w+)` \(string, required\)", section, re.M)
    assert parameters == ["to", "subject", "body"]
    upstream = ledger()
    door = http_of(relay(providers=[provider("one", upstream.port)]).start())
    order = dict(zip(parameters, ["ann@example.com", "Hello", "It is {{ not }} a template here.\n"], strict=True))
    door("POST", "/v1/services/smtp.send_email", order).must(202)
    (mail,) = upstream.wait_for(1)
    assert mail.recipients == ("ann@example.com",)
    assert parsed(mail.data).get_content().strip() == "It is {{ not }} a template here."
    for missing in parameters:
        refused = door("POST", "/v1/services/smtp.send_email", {k: v for k, v in order.items() if k != missing})
        assert missing in str(refused.refused(422)["errors"])


# Settings.


@pytest.fixture(scope="module")
def secured(certificate: Certificate) -> Iterator[Postfix]:
    with serving(certificate.pem, auth=True) as upstream:
        yield upstream


def options() -> list[str]:
    """Both tables of settings, by their first column."""
    return re.findall(r"^\| `(\w+)` \| \w+ \|", text("a"), re.M)


def test_the_settings_as_the_file_names_them_reach_a_server_with_tls_and_a_password(
    relay: MAKE, certificate: Certificate, secured: Postfix
) -> None:
    assert options() == ["host", "port", "username", "password", "use_tls"]
    values = ["localhost", secured.port, "app@relay.test", "right", True]
    one = trusting(relay(providers=[dict(zip(options(), values, strict=True))]), certificate).start()
    order = {"to": "settings@example.com", "subject": "Hello", "body": "By STARTTLS.\n"}
    http_of(one)("POST", "/v1/services/smtp.send_email", order).must(202)
    (mail,) = secured.wait_for("settings@example.com")
    assert mail.sender == "app@relay.test"


def common() -> dict[str, dict[str, str]]:
    """ "Common SMTP Configurations": heading to its lines."""
    section = text("a").partition("### Common SMTP Configurations")[2].partition("\n## ")[0]
    return {
        heading: dict(re.findall(r"^- ([\w /]+): (.*)$", body, re.M))
        for heading, body in re.findall(r"^#### (.*?)\n(.*?)(?=^#### |\Z)", section, re.M | re.S)
    }


def test_presets_say_what_the_file_says_of_well_known_hosts(relay: MAKE) -> None:
    shown = http_of(relay().start()).get("/v1/presets")
    presets = {preset["name"]: preset for preset in shown["data"]}
    known = common()
    for name, heading in (("gmail", "Gmail (via App Password)"), ("office365", "Outlook / Office 365")):
        assert f"`{presets[name]['host']}`" == known[heading]["Host"]
        assert f"`{presets[name]['port']}`" in known[heading]["Port"]
        assert presets[name]["tls"] == "starttls"
    assert shown["has_more"] is False
