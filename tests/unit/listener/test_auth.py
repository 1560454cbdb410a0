"""AUTH: the exchange, the verdict, and what a session does with it. Hazards L8, C3."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode

import pytest

from relay.events import MessageAccepted
from relay.listener import replies
from relay.listener.auth import Authenticator, Throttle, Verdict
from relay.listener.exchange import Credentials, Exchange
from relay.listener.settings import Patience
from relay.model import Scope
from tests.registry import FakeAccounts

USERS = {"crm": "open sesame"}
CANARY = "Canary-5e4d"


def coded(text: str) -> bytes:
    return b64encode(text.encode())


@pytest.mark.parametrize(
    ("argument", "lines", "last"),
    [
        (b"PLAIN " + coded("\0me\0pw"), [], Credentials("me", b"pw")),
        (b"plain " + coded("me\0me\0pw"), [], Credentials("me", b"pw")),
        (b"PLAIN", [coded("\0me\0pw")], Credentials("me", b"pw")),
        (b"LOGIN", [coded("me"), coded("pw")], Credentials("me", b"pw")),
        (b"LOGIN " + coded("me"), [b""], Credentials("me", b"")),
        (b"PLAIN =", [], replies.AUTH_MALFORMED),
        (b"PLAIN", [b"*"], replies.AUTH_CANCELLED),
        (b"LOGIN", [coded("me"), b"*"], replies.AUTH_CANCELLED),
        (b"PLAIN " + coded("you\0me\0pw"), [], replies.AUTH_MALFORMED),
        (b"PLAIN " + coded("me\0pw"), [], replies.AUTH_MALFORMED),
        (b"PLAIN " + coded("\0me\nyou\0pw"), [], replies.AUTH_MALFORMED),
        (b"PLAIN a$b", [], replies.AUTH_MALFORMED),
        (b"LOGIN /w==", [b""], replies.AUTH_MALFORMED),
        (b"CRAM-MD5", [], replies.AUTH_MECHANISM),
    ],
)
def test_exchange(argument, lines, last):
    exchange = Exchange()
    step = exchange.start(argument)
    for line in lines:
        assert isinstance(step, bytes)
        assert step.startswith(b"334 ")
        step = exchange.step(line)
    assert step == last


@pytest.mark.parametrize("argument", [b"PLAIN $$", b"PLAIN " + coded("no nuls"), b"PLAIN " + coded("a\0b\0c")])
def test_exchange_of_any_takes_everything(argument):
    assert isinstance(Exchange(lenient=True).start(argument), Credentials)


def test_credentials_do_not_show_themselves():
    assert CANARY not in repr(Credentials(CANARY, CANARY.encode()))


async def test_what_the_accounts_say_of_a_login():
    accounts = FakeAccounts({"crm": "open sesame"})
    await accounts.add_user("reader", b"open sesame", [Scope.QUEUE], 0.0)
    await accounts.add_user("boss", b"open sesame", [Scope.ADMIN], 0.0)
    judge = Authenticator(accounts, Patience())
    wanted = {"crm": Verdict.YES, "boss": Verdict.YES, "reader": Verdict.NOT_SENDING, "": Verdict.NO, "x": Verdict.NO}
    for name, verdict in wanted.items():
        assert await judge.check(Credentials(name, b"open sesame"), "10.0.0.1") is verdict
        assert await judge.check(Credentials(name, b"wrong"), "10.0.0.1") is Verdict.NO


class Gated(FakeAccounts):
    """Judges nobody before `go` is set. `asked`: who wanted in, and from where."""

    def __init__(self) -> None:
        super().__init__({"crm": "open sesame"})
        self.entered, self.go = asyncio.Event(), asyncio.Event()
        self.asked = []

    async def authenticate(self, name, password, client):
        self.asked.append((name, client))
        self.entered.set()
        await self.go.wait()
        return await super().authenticate(name, password, client)


async def test_whoever_fails_too_often_or_comes_with_too_many_is_told_to_come_back(serve):
    accounts = Gated()
    accounts.busy = 4.0
    accounts.go.set()
    rig = await serve(auth="required", accounts=accounts)
    client = await rig.client()
    assert (await client.say(b"AUTH PLAIN " + coded("\0crm\0open sesame"))).startswith("454 4.7.0 ")
    assert (await client.say("MAIL FROM:<a@example.com>")).startswith("530 5.7.0 ")
    assert accounts.asked == [("crm", "127.0.0.1")]


async def test_a_user_who_may_not_send_does_not_get_in(serve):
    accounts = FakeAccounts()
    await accounts.add_user("reader", b"open sesame", [Scope.QUEUE], 0.0)
    client = await (await serve(auth="required", accounts=accounts)).client()
    assert (await client.say(b"AUTH PLAIN " + coded("\0reader\0open sesame"))).startswith("535 5.7.1 ")
    assert (await client.say("MAIL FROM:<a@example.com>")).startswith("530 5.7.0 ")


async def test_who_is_added_or_removed_while_the_listener_runs_counts_at_once(serve):
    accounts = FakeAccounts()
    rig = await serve(auth="required", accounts=accounts)
    login = b"AUTH PLAIN " + coded("\0crm\0open sesame")
    assert (await (await rig.client()).say(login)).startswith("535 ")
    await accounts.add_user("crm", b"open sesame", [Scope.SEND], 0.0)
    assert (await (await rig.client()).say(login)).startswith("235 ")
    await accounts.remove_user("crm")
    assert (await (await rig.client()).say(login)).startswith("535 ")


def test_failures_of_a_client_cost_it_more_and_more():
    throttle = Throttle(0.5)
    assert [throttle.failed("a", 0.0) for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert throttle.failed("b", 0.0) == 0.5
    throttle.succeeded("a")
    assert throttle.failed("a", 0.0) == 0.5
    assert throttle.failed("b", 1000.0) == 0.5


async def test_who_logged_in_goes_with_the_message(serve):
    rig = await serve(auth="required", users=USERS)
    client = await rig.client()
    assert (await client.say(b"AUTH PLAIN " + coded("\0crm\0open sesame"))).startswith("235 2.7.0 ")
    await client.message(b"")
    message = rig.intake.submissions[0].message
    assert message.source.user == "crm"
    assert b" with ESMTPA id " in message.prefix
    assert any(isinstance(event, MessageAccepted) and event.source.user == "crm" for event in rig.events)


async def test_failed_logins_end_the_session(serve):
    rig = await serve(auth="optional", users=USERS, patience={"failures": 2})
    client = await rig.client()
    wrong = b"AUTH PLAIN " + coded(f"\0crm\0{CANARY}")
    assert await client.say(wrong) == "535 5.7.8 Authentication credentials invalid"
    assert await client.say(wrong) == "421 4.7.0 Too many failed logins"
    assert await client.rest() == b""
    assert rig.reasons() == ["auth", "auth"]


async def test_C3_L8_no_line_after_auth_is_logged_or_echoed(serve, caplog):
    caplog.set_level(logging.DEBUG)
    said = b""
    for settings in ({"auth": "none"}, {"auth": "optional", "users": USERS, "patience": {"failures": 99}}):
        rig = await serve(**settings)
        client = await rig.client()
        for line in (
            b"AUTH PLAIN " + coded(f"\0crm\0{CANARY}"),
            b"AUTH LOGIN",
            coded(CANARY),
            coded(CANARY),
            CANARY.encode(),
            b"AUTH LOGIN " + CANARY.encode(),
            b"AUTH " + CANARY.encode(),
            b"auth plain\r\n" + CANARY.encode(),
            b"AUTH PLAIN " + CANARY.encode() + b"\n",
        ):
            client.send(line + b"\r\n")
        client.send(b"QUIT\r\nQUIT\r\n")
        said += await client.rest()
        written = repr(rig.events) + caplog.text
        for secret in (CANARY, coded(CANARY).decode(), coded(f"\0crm\0{CANARY}").decode()):
            assert secret.lower() not in written.lower()
            assert secret.lower().encode() not in said.lower()


async def test_C3_auth_where_none_is_offered(serve):
    rig = await serve()
    client = await rig.client()
    assert "AUTH" not in await client.say("EHLO x")
    assert (await client.say("AUTH PLAIN")).startswith("502 5.5.1 ")


async def test_auth_after_helo_or_within_mail(serve):
    rig = await serve(auth="optional", users=USERS)
    client = await rig.connect()
    await client.reply()
    assert (await client.say("AUTH PLAIN")).startswith("503 5.5.1 ")
    await client.say("HELO x")
    assert (await client.say("AUTH PLAIN")).startswith("503 5.5.1 ")
    await client.say("EHLO x")
    await client.say("MAIL FROM:<a@example.com>")
    assert (await client.say("AUTH PLAIN")).startswith("503 5.5.1 ")


async def test_a_client_that_goes_while_its_password_is_judged(serve):
    accounts = Gated()
    rig = await serve(auth="optional", accounts=accounts)
    before = len(asyncio.all_tasks())
    client = await rig.client()
    client.send(b"AUTH PLAIN " + coded("\0crm\0open sesame") + b"\r\n")
    await accounts.entered.wait()
    client.writer.transport.abort()
    accounts.go.set()
    await rig.until(lambda: rig.listener.connections == 0 and len(asyncio.all_tasks()) <= before)
