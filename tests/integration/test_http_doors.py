"""A mail by each door arrives at a real Postfix: the listener, seed c's address, /v1/messages, raw, `relay send`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import pytest
from clients import letter, send
from http_door import Http, http_of
from postfix import Delivered, Postfix
from relay_process import Relay, provider
from waiting import until

MAKE = Callable[..., Relay]
USER = ("app", "the app's password")


@dataclass(frozen=True)
class World:
    relay: Relay
    upstream: Postfix
    http: Http

    def arrived(self, recipient: str) -> tuple[Delivered, EmailMessage]:
        mail = self.upstream.wait_for(recipient)[0]
        return mail, parsed(mail.content)

    def compose(self, **more: Any) -> Any:
        order = {"from": "App <app@client.test>", "to": ["bob@example.com"], "subject": "hello", "text": "Hello.\n"}
        return self.http("POST", "/v1/messages", order | more).must(202)


def parsed(content: bytes) -> EmailMessage:
    message = BytesParser(policy=policy.default).parsebytes(content)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


@pytest.fixture
def world(relay: MAKE, postfix: Callable[..., Postfix]) -> World:
    upstream = postfix()
    users = [{"name": USER[0], "password": USER[1]}]
    one = relay(providers=[provider("postfix", upstream.port)], users=users).start()
    return World(one, upstream, http_of(one).as_user(*USER))


def test_smtp(world: World) -> None:
    message = letter(body="Hello.\r\n.a dot\r\n", Message_ID="<1@x>", Date="today")
    send(world.relay.door, ["bob@example.com"], message)
    mail, _ = world.arrived("bob@example.com")
    assert mail.content.startswith(b"Received: ")
    assert mail.content.endswith(message.replace(b"\r\n", b"\n"))


def test_send_email_with_a_token_of_the_password_form(world: World) -> None:
    granted = http_of(world.relay).login(*USER).must(200)
    assert set(granted) == {"access_token", "token_type", "expires_in"}
    assert (granted["token_type"].lower(), granted["expires_in"]) == ("bearer", 3600)
    again = http_of(world.relay).login(*USER, grant_type="password").must(200)
    assert again["access_token"] != granted["access_token"]
    for number, token in enumerate((granted["access_token"], again["access_token"])):
        order = {"to": f"r{number}@example.com", "subject": "Grüße", "message": "Hello.\n.\nBye."}
        assert http_of(world.relay, token)("POST", "/smtp/send-email", order).status == 200
        message = world.arrived(f"r{number}@example.com")[1]
        assert (message["Subject"], message["To"]) == ("Grüße", f"r{number}@example.com")
        assert message.get_content().rstrip("\n") == "Hello.\n.\nBye."
        assert message["Message-ID"]
        assert message["Date"]


def test_messages_with_everything_and_no_bcc_on_the_wire(world: World) -> None:
    accepted = world.compose(
        cc=["Carol <carol@example.com>"],
        bcc=["secret@example.com"],
        reply_to="help@client.test",
        subject="Grüße aus Köln",
        html="<p>Hello.</p>\n",
        headers={"X-App": "crm"},
        attachments=[{"filename": "räume.csv", "content_type": "text/csv", "content": "YSxiCjEsMgo="}],
    )
    assert set(accepted) == {"id", "message_id", "status", "recipients"}
    found = {name: world.arrived(f"{name}@example.com") for name in ("bob", "carol", "secret")}
    assert len({mail.content.split(b"\n\n", 1)[1] for mail, _ in found.values()}) == 1
    for mail, message in found.values():
        assert mail.sender == "app@client.test"
        assert b"secret@example.com" not in mail.content
        assert b"bcc" not in mail.content.split(b"\n\n", 1)[0].lower()
        assert message["From"] == "App <app@client.test>"
        assert (message["To"], message["Cc"]) == ("bob@example.com", "Carol <carol@example.com>")
        assert (message["Subject"], message["Reply-To"]) == ("Grüße aus Köln", "help@client.test")
        assert message["X-App"] == "crm"
        assert message["Message-ID"].strip("<>") == accepted["message_id"].strip("<>")
        plain, html = message.get_body(("plain",)), message.get_body(("html",))
        assert plain is not None
        assert html is not None
        assert (plain.get_content(), html.get_content()) == ("Hello.\n", "<p>Hello.</p>\n")
        files = [
            (part.get_filename(), part.get_content_type(), part.get_content()) for part in message.iter_attachments()
        ]
        assert files == [("räume.csv", "text/csv", "a,b\n1,2\n")]
    shown = world.http.get(f"/v1/messages/{accepted['id']}")
    assert {one["address"] for one in shown["recipients"]} == {f"{n}@example.com" for n in ("bob", "carol", "secret")}


def test_raw_goes_as_it_is(world: World) -> None:
    mail = letter(body="Grüße\r\n.a dot\r\n", Message_ID="<1@x>", Date="today", X_Odd=" kept  as it is")
    answer = world.http.send(
        *("POST", "/v1/messages/raw?from=app@client.test&to=bob@example.com&to=eve@example.com", mail),
        {"Content-Type": "message/rfc822"},
    )
    accepted = answer.must(202)
    assert (accepted["message_id"], len(accepted["recipients"])) == ("<1@x>", 2)
    for recipient in ("bob@example.com", "eve@example.com"):
        arrived, _ = world.arrived(recipient)
        assert arrived.sender == "app@client.test"
        assert arrived.content.endswith(mail.replace(b"\r\n", b"\n"))
    with_bcc = letter(Bcc="secret@example.com")
    to = "/v1/messages/raw?from=app@client.test&to=bob@example.com"
    world.http.send("POST", to, with_bcc, {"Content-Type": "message/rfc822"}).refused(422)


def test_a_result_for_each_recipient(world: World) -> None:
    accepted = world.compose(to=["bob@example.com", "no-such-user@example.com", "greylisted@example.com"])

    def states() -> dict[str, str]:
        shown = world.http.get(f"/v1/messages/{accepted['id']}")
        return {one["address"].partition("@")[0]: one["state"] for one in shown["recipients"]}

    wanted = {"bob": "accepted", "no-such-user": "failed", "greylisted": "deferred"}
    until(lambda: states() == wanted, 10, "each has its own")
    shown = world.http.get(f"/v1/messages/{accepted['id']}")
    reasons = {one["address"].partition("@")[0]: one["reason"] for one in shown["recipients"]}
    assert "550 5.1.1" in reasons["no-such-user"]
    assert "450 4.2.0" in reasons["greylisted"]


def test_relay_send(world: World) -> None:
    attached = world.relay.folder / "a.txt"
    attached.write_text("attached\n")
    sent = world.relay.ask(
        *("send", "--from", "app@client.test", "--to", "bob@example.com", "--subject", "by hand"),
        *("--body", "Hello.", "--attach", str(attached)),
    )
    mail, message = world.arrived("bob@example.com")
    assert (mail.sender, message["Subject"]) == ("app@client.test", "by hand")
    body = message.get_body(("plain",))
    assert body is not None
    assert body.get_content().strip() == "Hello."
    assert [(part.get_filename(), part.get_content()) for part in message.iter_attachments()] == [
        ("a.txt", "attached\n")
    ]
    world.relay.wait_for_states(sent["id"], bob="accepted")
