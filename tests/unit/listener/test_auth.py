"""AUTH: the exchange, the judge of passwords, and what a session does with them. Hazards L8, C3."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode

import argon2
import pytest

from relay.events import MessageAccepted
from relay.listener import replies
from relay.listener.auth import AT_ONCE, WAITING, Authenticator, Throttle, Verdict
from relay.listener.exchange import Credentials, Exchange
from relay.listener.settings import Patience, User

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASHED = User(name="crm", hash=CHEAP.hash("open sesame"))
PLAIN = User(name="erp", password="s\u00e9same")
CANARY = "Canary-5e4d"


def coded(text: str) -> bytes:
    return b64encode(text.encode())


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


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
    assert CANARY not in repr(User(name="x", password=CANARY))


@pytest.mark.parametrize(
    ("name", "password", "verdict"),
    [
        ("crm", "open sesame", Verdict.YES),
        ("crm", "wrong", Verdict.NO),
        ("erp", "s\u00e9same", Verdict.YES),
        ("erp", "", Verdict.NO),
        ("nobody", "open sesame", Verdict.NO),
        ("", "", Verdict.NO),
    ],
)
async def test_judge(name, password, verdict):
    judge = Authenticator((HASHED, PLAIN), Patience(), Clock())
    assert await judge.check(Credentials(name, password.encode())) is verdict


async def test_unknown_names_without_hashed_users():
    judge = Authenticator((PLAIN,), Patience(), Clock())
    assert await judge.check(Credentials("nobody", b"")) is Verdict.NO


async def test_a_damaged_hash_lets_nobody_in():
    judge = Authenticator((User(name="a", hash="$argon2id$damaged"),), Patience(), Clock())
    assert await judge.check(Credentials("a", b"x")) is Verdict.NO


async def test_successes_are_remembered_for_five_minutes_and_not_the_password():
    clock = Clock()
    judge = Authenticator((HASHED,), Patience(), clock)
    claim = Credentials("crm", b"open sesame")
    assert await judge.check(claim) is Verdict.YES
    assert judge.remembers(claim)
    assert not judge.remembers(Credentials("crm", b"open sesamf"))
    assert b"sesame" not in repr(vars(judge)["_known"]).encode()
    clock.now += 299
    assert judge.remembers(claim)
    clock.now += 2
    assert not judge.remembers(claim)
    assert await judge.check(claim) is Verdict.YES


async def test_too_many_logins_at_once_are_told_to_come_back():
    judge = Authenticator((HASHED,), Patience(), Clock())
    claims = [Credentials("crm", b"wrong %d" % n) for n in range(WAITING + AT_ONCE + 5)]
    verdicts = await asyncio.gather(*map(judge.check, claims))
    assert verdicts.count(Verdict.BUSY) == AT_ONCE + 5
    assert await judge.check(Credentials("crm", b"open sesame")) is Verdict.YES


def test_failures_of_a_client_cost_it_more_and_more():
    throttle = Throttle(0.5)
    assert [throttle.failed("a", 0.0) for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert throttle.failed("b", 0.0) == 0.5
    throttle.succeeded("a")
    assert throttle.failed("a", 0.0) == 0.5
    assert throttle.failed("b", 1000.0) == 0.5


async def test_who_logged_in_goes_with_the_message(serve):
    rig = await serve(auth="required", users=(HASHED,))
    client = await rig.client()
    assert (await client.say(b"AUTH PLAIN " + coded("\0crm\0open sesame"))).startswith("235 2.7.0 ")
    await client.message(b"")
    message = rig.intake.submissions[0].message
    assert message.source.user == "crm"
    assert b" with ESMTPA id " in message.prefix
    assert any(isinstance(event, MessageAccepted) and event.source.user == "crm" for event in rig.events)


async def test_failed_logins_end_the_session(serve):
    rig = await serve(auth="optional", users=(HASHED,), patience={"failures": 2})
    client = await rig.client()
    wrong = b"AUTH PLAIN " + coded(f"\0crm\0{CANARY}")
    assert await client.say(wrong) == "535 5.7.8 Authentication credentials invalid"
    assert await client.say(wrong) == "421 4.7.0 Too many failed logins"
    assert await client.rest() == b""
    assert rig.reasons() == ["auth", "auth"]


async def test_C3_L8_no_line_after_auth_is_logged_or_echoed(serve, caplog):
    caplog.set_level(logging.DEBUG)
    said = b""
    for settings in ({"auth": "none"}, {"auth": "optional", "users": (HASHED,), "patience": {"failures": 99}}):
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
    rig = await serve(auth="optional", users=(HASHED,))
    client = await rig.connect()
    await client.reply()
    assert (await client.say("AUTH PLAIN")).startswith("503 5.5.1 ")
    await client.say("HELO x")
    assert (await client.say("AUTH PLAIN")).startswith("503 5.5.1 ")
    await client.say("EHLO x")
    await client.say("MAIL FROM:<a@example.com>")
    assert (await client.say("AUTH PLAIN")).startswith("503 5.5.1 ")


async def test_a_client_that_goes_while_its_password_is_judged(serve):
    rig = await serve(auth="optional", users=(HASHED,))
    before = len(asyncio.all_tasks())
    client = await rig.client()
    client.send(b"AUTH PLAIN " + coded("\0crm\0open sesame") + b"\r\n")
    await client.writer.drain()
    client.writer.transport.abort()
    await rig.until(lambda: rig.listener.connections == 0 and len(asyncio.all_tasks()) <= before)
