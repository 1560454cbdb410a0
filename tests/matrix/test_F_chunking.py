"""Hazard F where several messages are in flight by BDAT: each phase of a transaction x 24 actions; each ends as stated.

What happens to the others of a provider that offers CHUNKING is in test_F_faults.py: before there is anything in
flight it is the same table.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest
from matrix.fault_table import LOST, NONSENSE, SURPLUS

from relay.model import DeliveryOutcome, Fault, Limits, Provider, Timeouts, Tls, Verdict
from relay.testing.mail import PREFIX, body_of, shipment_to
from relay.testing.upstream import ACTIONS, OFFERS, Script, ScriptedUpstream
from relay.upstream.smtp import SmtpTransport

PHASES = ("mail", "rcpt", "data", "body", "dot", "after", "rset", "quit", "idle")
TURNS = {"rset": 1, "data": 3}
"""How often a phase comes before the first of those in flight: two messages open the connection."""
PATIENCE = Timeouts(connect=2.0, command=1.0, data=1.0)
SLOW = {"slow": 0.2, "too_slow": 3.0, "drip": 0.2, "idle": 0.1}
BODY = b"Subject: x\r\n\r\n..dots\r\n..\r\n" + b"0123456789abcdef\r\n" * 500

A, D, U = "accepted", "deferred", "uncertain"


@dataclass
class Cell:
    phase: str
    action: str
    fates: list[str] = field(default_factory=list)
    late: str = ""
    copies: Counter[str] = field(default_factory=Counter)
    wrong: str = ""


def expected(phase: str, action: str) -> tuple[str, str]:
    """Of the message it happens to, and of those in flight behind it: the words that are right, the first letters.

    More than one where a reply too many, or one in front of what it answers, may or may not be seen as such in time.
    """
    if phase in ("quit", "idle") or action == "slow":
        return "a", "a"
    if action == "early-reply":
        return "adu", "adu"
    answered = phase in ("after", "rset")
    if action == "421":  # F1: who says so reads no more, so the others go again at once; without an answer this one too
        return ("a" if answered or phase in ("mail", "rcpt") else "d"), "a"
    if answered:  # but where RSET is not, the answer was not surely one to BDAT
        return ("a" if action in (*SURPLUS, "slow-close") else "au"), "au"
    if action in ("4xx", "5xx"):
        return action[0].translate({ord("4"): "d", ord("5"): "r"}), "a"
    if action == "521":  # a refusal that hangs up: of the content it stands, of less it may have been to somebody else
        return ("a" if phase in ("mail", "rcpt") else "r"), "u"
    if action in SURPLUS:
        told = phase in ("data", "body", "dot") or (phase, action) == ("rcpt", "extra-reply")
        return ("a" if told else "u"), "u"
    return ("a" if (phase, action) == ("dot", "slow-close") else "u"), "u"


def test_F_the_table_states_all_cells() -> None:
    assert set(ACTIONS) >= {*LOST, *NONSENSE, *SURPLUS}
    assert all(expected(phase, action) for phase in PHASES for action in ACTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
async def test_F_every_fault_of_several_in_flight_ends_as_stated(phase: str) -> None:
    """Slow: some faults are that the provider is. All cells of a phase at the same time."""
    cells = [Cell(phase, action) for action in ACTIONS]
    await asyncio.gather(*map(play, cells))
    wrong = [line for cell in cells for line in judged(cell)]
    assert not wrong, "\n".join([f"{len(wrong)} differ:", *wrong])


async def play(cell: Cell) -> None:
    """Two that open the connection, four at once, and one that finds things as they are then."""
    place = "body@50%" if cell.phase == "body" else cell.phase
    turns = [None] * TURNS.get(cell.phase, 2) if cell.phase not in ("quit", "idle") else []
    script = Script(connections=[{place: [*turns, cell.action]}], offers=(*OFFERS, "CHUNKING"), **SLOW)
    async with ScriptedUpstream(script) as upstream:
        provider = Provider(
            name="p",
            host="127.0.0.1",
            port=upstream.port,
            tls=Tls.NONE,
            timeouts=PATIENCE,
            limits=Limits(connections=1),
        )
        transport = SmtpTransport("relay.example")
        for who in ("x", "y"):
            await sent(transport, provider, who)
        outcomes = await asyncio.gather(*(sent(transport, provider, who) for who in "abcd"))
        cell.fates = [word(outcome) for outcome in outcomes]
        cell.late = word(await sent(transport, provider, "late"))
        await transport.close()
        for mail in upstream.received:
            if mail.taken:
                cell.copies[mail.recipients[0][0]] += 1
                if mail.content != PREFIX + BODY.replace(b"\r\n.", b"\r\n"):
                    cell.wrong = f"the content differs: {mail.content[:200]!r}"


async def sent(transport: SmtpTransport, provider: Provider, who: str) -> DeliveryOutcome:
    [outcome] = await transport.send(shipment_to(provider, f"{who}@x.example"), body_of(BODY))
    return outcome


def word(outcome: DeliveryOutcome) -> str:
    if outcome.verdict is Verdict.DEFERRED:
        return U if outcome.fault is Fault.UNCERTAIN else D
    return outcome.verdict.value


def judged(cell: Cell) -> list[str]:
    victim, others = expected(cell.phase, cell.action)
    name, seen = f"{cell.phase}-{cell.action}", f"{cell.fates}, {cell.late}, copies {dict(cell.copies)}"
    wrong = [f"{name}: {cell.wrong}"] if cell.wrong else []
    if cell.fates[0][0] not in victim or any(fate[0] not in others for fate in cell.fates[1:]):
        wrong.append(f"{name}: must be {victim}, then {others}: {seen}")
    for who, fate in zip("abcd", cell.fates, strict=True):
        least, most = (1, 1) if fate == A else (0, int(fate == U))
        if not least <= cell.copies[who] <= most:
            wrong.append(f"{name}: {who} was {fate} and must be taken {least} to {most} times: {seen}")
    return wrong if cell.late == A else [*wrong, f"{name}: the next message was penalised: {seen}"]
