"""What the stage adds to the judge: who is given up was refused, and its sender told; letters are what they say."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from proof.letters import HARD, MARK, SOFT, SPECIAL, Letters, Mix
from proof.oracle import Kind, Outcome, Sent, Taken
from proof.scene import unprovoked, untold

SENT = Sent("m1", "m1@app.test", ("m1-0-hard@a.test", "m1-1@b.test"), "abc", Outcome.ACKED, 10.0, 11.0)
BOUNCE = Taken(
    port=1,
    opened=12.0,
    at=13.0,
    sender="",
    recipients=("m1@app.test",),
    sha256="",
    answered="250 ok",
    named=("m1-0-hard@a.test",),
)
HARDS = {"m1-0-hard@a.test"}


def test_a_failure_its_sender_never_heard_of_is_a_loss() -> None:
    assert [fault.kind for fault in untold([SENT], [], HARDS)] == [Kind.LOST]
    assert [fault.kind for fault in untold([SENT], [replace(BOUNCE, answered="550 no")], HARDS)] == [Kind.LOST]
    assert untold([SENT], [BOUNCE], HARDS) == ()
    assert [fault.kind for fault in untold([SENT], [replace(BOUNCE, named=())], HARDS)] == [Kind.LOST], "of another"
    assert untold([replace(SENT, sender="")], [], HARDS) == (), "nobody is told about mail from nobody (RFC 5321 6.1)"


def test_giving_up_a_recipient_that_nobody_refused_is_a_forgery() -> None:
    assert [fault.recipient for fault in unprovoked([SENT], {"m1-1@b.test"})] == ["m1-1@b.test"]
    assert unprovoked([SENT], set()) == ()


def test_letters_are_what_they_say() -> None:
    letters = [Letters(3, "r1", ["a.test", "b.test"], Mix(special=0.1, huge=0, soft=0.1, hard=0.1))]
    made = [letters[0].make() for _ in range(500)]
    assert len({each.id for each in made}) == 500
    for each in made:
        assert each.content in SPECIAL if each.whole else each.content.startswith(MARK + each.id.encode())
        assert each.sha256 == hashlib.sha256(each.content).hexdigest()
        assert unstuffed(each.wire) == each.content
        assert each.content.count(b"\n") == each.content.count(b"\r\n") == each.content.count(b"\r")
    recipients = [recipient for each in made for recipient in each.recipients]
    assert len(set(recipients)) == len(recipients) > 500
    assert any(each.partition("@")[0].endswith(SOFT) for each in recipients)
    assert any(each.partition("@")[0].endswith(HARD) for each in recipients)
    assert any(len(each.content) > 256 * 1024 for each in made)


def test_the_same_seed_makes_the_same_letters() -> None:
    one, same, other = (Letters(seed, "r1", ["a.test"], Mix(huge=0)) for seed in (3, 3, 4))
    first = [one.make() for _ in range(20)]
    assert first == [same.make() for _ in range(20)]
    assert first != [other.make() for _ in range(20)]


def unstuffed(wire: bytes) -> bytes:
    """Line by line, as RFC 5321 4.5.2 tells a receiver."""
    lines = wire.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2], "only the last dot stands alone"
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:-2])
