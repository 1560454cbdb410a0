"""The judge of passwords. Argon2 is real here, but cheap: the cost lies in the hash."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import argon2
import pytest

from relay.ports import Busy
from relay.store.passwords import AT_ONCE, REMEMBERED_AT_MOST, WAITING, Passwords
from relay.store.throttle import FREE
from relay.store.users import FileUser, Secret

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASHED = Secret(hash=CHEAP.hash("open sesame"))
PLAIN = Secret(clear="s\u00e9same")
CANARY = "Canary-5e4d"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def passwords(clock: Clock) -> Passwords:
    return Passwords(clock)


async def right(
    passwords: Passwords, secret: Secret | None, password: str, name: str = "crm", client: str = "10.0.0.1"
) -> bool:
    return await passwords.judge(name, secret, password.encode(), client, [HASHED.hash])


@pytest.mark.parametrize(
    ("secret", "password", "verdict"),
    [
        (HASHED, "open sesame", True),
        (HASHED, "wrong", False),
        (PLAIN, "s\u00e9same", True),
        (PLAIN, "s\u00e9samf", False),
        (PLAIN, "", False),
        (None, "open sesame", False),
        (None, "", False),
        (Secret(), "", False),
        (Secret(hash="$argon2id$damaged"), "x", False),
    ],
)
async def test_right_and_wrong(passwords: Passwords, secret: Secret | None, password: str, verdict: bool) -> None:
    assert await right(passwords, secret, password) is verdict


async def test_unknown_names_without_a_hash_to_compare_with(passwords: Passwords) -> None:
    assert await passwords.judge("nobody", None, b"x", "10.0.0.1", []) is False


async def test_a_password_of_any_octets(passwords: Passwords) -> None:
    octets = bytes(range(128, 256))
    from_the_environment = Secret(clear=octets.decode(errors="surrogateescape"))
    assert await passwords.judge("crm", from_the_environment, octets, "10.0.0.1", [])
    assert not await passwords.judge("\ud800", None, octets, "10.0.0.1", [HASHED.hash])


async def test_H5_a_name_that_nobody_has_costs_what_a_wrong_password_costs() -> None:
    """Counted in threads used, which is what takes the time."""
    spent = []
    for secret in (HASHED, PLAIN, None):
        passwords = Counting()
        await right(passwords, secret, "wrong")
        spent.append(passwords.jobs)
    assert spent == [1, 1, 1]


class Counting(Passwords):
    def __init__(self) -> None:
        super().__init__(Clock())
        self.jobs = 0

    async def _in_thread(self, work):
        self.jobs += 1
        return await super()._in_thread(work)


async def test_what_is_hashed_here_is_salted_and_recognised(passwords: Passwords) -> None:
    one, two = await passwords.hashed(b"open sesame"), await passwords.hashed(b"open sesame")
    assert one != two
    assert one.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await right(passwords, Secret(hash=one), "open sesame")
    assert not await right(passwords, Secret(hash=one), "open sesamf")


async def test_successes_are_remembered_for_five_minutes_and_not_the_password(
    passwords: Passwords, clock: Clock
) -> None:
    assert not passwords.remembers("crm", HASHED, b"open sesame")
    assert await right(passwords, HASHED, "open sesame")
    assert passwords.remembers("crm", HASHED, b"open sesame")
    assert not passwords.remembers("crm", HASHED, b"open sesamf")
    assert not passwords.remembers("crm", Secret(hash=CHEAP.hash("open sesame")), b"open sesame")
    assert not passwords.remembers("erp", HASHED, b"open sesame")
    assert b"sesame" not in repr(vars(passwords)).encode()
    clock.now += 299
    assert passwords.remembers("crm", HASHED, b"open sesame")
    clock.now += 2
    assert not passwords.remembers("crm", HASHED, b"open sesame")
    assert await right(passwords, HASHED, "open sesame")


async def test_what_is_remembered_is_bounded(passwords: Passwords) -> None:
    for number in range(REMEMBERED_AT_MOST + 10):
        await passwords.judge(f"user{number}", PLAIN, "s\u00e9same".encode(), "10.0.0.1", [])
    assert not passwords.remembers("user0", PLAIN, "s\u00e9same".encode())
    assert passwords.remembers(f"user{REMEMBERED_AT_MOST}", PLAIN, "s\u00e9same".encode())


async def test_too_many_logins_at_once_are_told_to_come_back(passwords: Passwords) -> None:
    extra = 5
    tries = [
        right(passwords, HASHED, f"wrong {n}", f"user{n}", f"10.0.0.{n}") for n in range(WAITING + AT_ONCE + extra)
    ]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert results.count(False) == WAITING + AT_ONCE
    assert [result.seconds for result in results if isinstance(result, Busy)] == [1.0] * extra
    assert await right(passwords, HASHED, "open sesame", client="10.1.0.1")


async def test_wrong_ones_make_waits_that_grow_and_what_was_right_lately_passes(
    passwords: Passwords, clock: Clock
) -> None:
    for _ in range(FREE + 1):
        assert not await right(passwords, HASHED, "wrong")
    with pytest.raises(Busy) as busy:
        await right(passwords, HASHED, "open sesame")
    assert busy.value.seconds == 1.0
    clock.now += 1
    assert await right(passwords, HASHED, "open sesame")
    for _ in range(FREE + 1):
        assert not await right(passwords, HASHED, "wrong")
    with pytest.raises(Busy):
        await right(passwords, HASHED, "wrong")
    assert await right(passwords, HASHED, "open sesame")


async def test_a_judgement_that_is_given_up_holds_nothing(passwords: Passwords, clock: Clock) -> None:
    for _ in range(FREE + 1):
        await right(passwords, HASHED, "wrong")
    clock.now += 1
    judging = asyncio.create_task(right(passwords, HASHED, "open sesame"))
    await asyncio.sleep(0)
    judging.cancel()
    await asyncio.gather(judging, return_exceptions=True)
    assert judging.cancelled()
    assert await right(passwords, HASHED, "open sesame")


def test_H8_secrets_do_not_show_themselves() -> None:
    assert CANARY not in repr(FileUser(name="x", secret=Secret(clear=CANARY, hash=CANARY)))


def test_argon2_is_not_loaded_before_it_is_needed() -> None:
    program = (
        "import relay.store.accounts, relay.listener.server, sys;"
        "print(sorted({'argon2', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
