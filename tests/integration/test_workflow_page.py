"""docs/workflows.md, done as it says: its rules, its commands and its answers, read out of the page.

Only the port, the host and the credentials are replaced, and `relay` is the one of this environment.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from certificates import Certificate
from http_door import http_of
from ledger import Ledger
from postfix import Postfix
from relay_process import COMMAND, Relay, provider
from seed_world import trusting
from waiting import program, until

MAKE = Callable[..., Relay]
PAGE = (Path(__file__).parents[2] / "docs" / "workflows.md").read_text()
OUTSIDE = {"user=me": "user=app@relay.test", "host=smtp.example.com": "host=localhost"}
SECRET = "right"
TAB = "\t"


def blocks(section: str, language: str) -> list[str]:
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def commands(section: str) -> list[tuple[str, str]]:
    """What stands behind each prompt, lines that go on included, and the answer shown."""
    found = []
    for part in re.split(r"^\$ ", "".join(blocks(section, "console")), flags=re.M)[1:]:
        match = re.match(r"(?:.*\\\n)*.*\n", part)
        assert match, part
        found.append((match[0], part[match.end() :]))
    return found


def typed(relay: Relay, command: str, *, port: int = 0, given: str = "") -> str:
    """What a shell in the relay's folder makes of it. It must succeed."""
    assert "localhost:8025" in command or "curl" not in command
    for theirs, ours in OUTSIDE.items():
        command = command.replace(theirs, ours)
    command = command.replace("localhost:8025", f"127.0.0.1:{relay.http_port}").replace("port=587", f"port={port}")
    done = subprocess.run(
        [program("bash"), "-ec", command],
        cwd=relay.folder,
        env={"PATH": f"{Path(COMMAND).parent}:/usr/bin:/bin", "LANG": "C.UTF-8"},
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def alike(shown: Any, got: Any, place: str = "answer") -> None:
    """The same but for ids, which are made anew, and for what the page leaves out."""
    if shown == ["..."]:
        assert isinstance(got, list) and got, place
    elif isinstance(shown, dict):
        assert shown.keys() == got.keys(), place
        for key in shown:
            alike(shown[key], got[key], f"{place}.{key}")
    elif isinstance(shown, list):
        assert len(shown) == len(got), place
        for number, (one, other) in enumerate(zip(shown, got, strict=True)):
            alike(one, other, f"{place}.{number}")
    elif isinstance(shown, str) and re.fullmatch("0[0-9a-z]{12}", shown):
        assert re.fullmatch("[0-9a-z]{13}", got), place
    else:
        assert shown == got, place


def parsed(data: bytes) -> EmailMessage:
    return BytesParser(policy=policy.default).parsebytes(data)  # type: ignore[return-value]


def content(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body(preferencelist=(kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def accepted(relay: Relay, tag: str) -> list[str]:
    """The messages with a tag, once their provider has taken one."""

    def found() -> list[Any]:
        return list(http_of(relay).get("/v1/messages", tag=tag, state="accepted")["data"])

    return [one["id"] for one in until(found, 10, "its mail was accepted")]


@pytest.fixture
def upstream(ledger: Callable[[], Ledger]) -> Ledger:
    return ledger()


@pytest.fixture
def told(relay: MAKE, upstream: Ledger) -> Relay:
    """A relay with the page's own rule in its configuration, as it would be pasted."""
    one = relay(providers=[provider("one", upstream.port)])
    [rule] = blocks("A rule", "yaml")
    one.write()
    one.write(one.file.read_text() + rule)
    return one.start(write=False)


def test_a_rule_and_an_event(told: Relay, upstream: Ledger) -> None:
    [(command, shown)] = commands("A rule")
    answer = json.loads(typed(told, command))
    alike(json.loads(shown.replace("[...]", '["..."]')), answer)
    assert json.loads(typed(told, command)) == answer, "told again with the same key"
    [taken] = upstream.wait_for(1)
    mail = parsed(taken.data)
    assert (taken.recipients, mail["Subject"]) == (("ann@example.org",), "Welcome, Ann")
    assert content(mail, "plain") == "Hello Ann,\n\nyour account ann is ready.\n"
    assert content(mail, "html").strip() == "<p>Hello Ann, your account <b>ann</b> is ready.</p>"
    assert accepted(told, "user.created") == answer["messages"]


def test_what_the_page_says_of_other_events(told: Relay, upstream: Ledger) -> None:
    door = http_of(told)
    ann = {"email": "ann@example.org", "name": "<Ann>", "username": "ann"}

    def tell(**more: Any) -> Any:
        return door("POST", "/v1/events", {"event": "user.created", "data": {"user": ann | more}}).must(202)

    assert tell(active=False)["skipped"] == [{"workflow": "welcome", "action": None}]
    assert len(tell(team="labs")["messages"]) == 2
    both = {mail.recipients: parsed(mail.data) for mail in upstream.wait_for(2)}
    assert "<p>Hello &lt;Ann&gt;," in content(both["ann@example.org",], "html"), "what is put into it is escaped"
    team = both["hr@example.com", "labs@example.com", "office@example.com"]
    assert (team["Cc"], team["Subject"]) == ("office@example.com", "New: <Ann>")
    [attached] = team.iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == ("user.json", "application/json")
    assert json.loads(attached.get_payload(decode=True)) == {**ann, "team": "labs"}
    several = tell(email="a@x.org, b@y.org")
    assert [failed["loc"] for failed in several["failed"]] == [["actions", 0, "data", "to"]]
    assert several["messages"] == []
    missing = door("POST", "/v1/events", {"event": "user.created", "data": {"user": {"email": "a@x.org"}}}).must(202)
    assert missing["failed"][0]["loc"] == ["actions", 0, "data", "subject"]
    assert "user.name" in missing["failed"][0]["error"]


def test_rules_over_http(told: Relay, upstream: Ledger) -> None:
    [rule] = blocks("Rules over HTTP", "yaml")
    (told.folder / "goodbye.yaml").write_text(rule)
    said = {}
    for command, _ in commands("Rules over HTTP"):
        words = command.partition("#")[0].split()
        said[" ".join(words[:3])] = [line.split(TAB) for line in typed(told, command).splitlines()]
    assert said["relay workflow add"] == [["goodbye", "1"]]
    assert said["relay workflow preview"] == [["0", "ann@example.org", "Goodbye, Ann", "Your account ann is gone."]]
    assert said["relay workflow replace"] == [["goodbye", "2"]]
    [[workflow, id]] = said["relay event send"]
    assert workflow == "goodbye"
    [taken] = upstream.wait_for(1)
    assert parsed(taken.data)["Subject"] == "Goodbye, Ann"
    assert [row[1:3] for row in said["relay event list"]] == [["event", "user.deleted"]]
    door = http_of(told)
    assert [one["version"] for one in door.get("/v1/workflows/goodbye/versions")["data"]] == [2, 1]
    assert accepted(told, "user.deleted") == [id]
    door("DELETE", "/v1/workflows/welcome").refused(409)
    door("POST", "/v1/workflows", yaml.safe_load(rule) | {"name": "welcome"}).refused(409)


def test_mail_for_every_run(relay: MAKE, certificate: Certificate, postfix: Callable[..., Postfix]) -> None:
    server = postfix(auth=True)
    one = trusting(relay(), certificate).start()
    register, attach, tell = (command for command, _ in commands("Mail for every run of a workflow"))
    assert typed(one, register, port=server.port, given=SECRET) == f"1{TAB}smtp\n"
    assert typed(one, attach) == f"1{TAB}build{TAB}1\n"
    answer = json.loads(typed(one, tell))
    assert (len(answer["messages"]), answer["failed"]) == (1, [])
    for address in ("team@example.com", "security@example.com"):
        [delivered] = server.wait_for(address)
        mail = parsed(delivered.content)
        assert (mail["To"], mail["Cc"]) == ("team@example.com", "security@example.com")
        for kind in ("plain", "html"):
            assert "succeeded" in content(mail, kind)
            assert "sha256:…" in content(mail, kind)
        [attached] = mail.iter_attachments()
        assert attached.get_content_type() == "application/json"
        assert json.loads(attached.get_payload(decode=True)) == {"digest": "sha256:…"}
    server.stop()
    [waiting] = json.loads(typed(one, tell))["messages"]
    until(lambda: "refused" in typed(one, "relay queue list"), 15, "the list says why it waits")
    typed(one, "relay integration registered remove 1")
    server.start()
    until(lambda: "integration/1" in typed(one, "relay queue list"), 15, "it waits for one that was removed")
    assert [row["id"] for row in one.queue()] == [waiting]
    assert len(server.delivered("team@example.com")) == 1
