"""Makes cells of the fault matrix happen to one real relay, all at once, and tells where it differs from the table.

Used by test_F_faults.py. Each cell has a provider, an upstream and a recipient domain of its own. It states nothing
itself: `fault_table.py` does.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients import smtp, submit
from matrix.fault_table import ACCOUNT, HOST, Fate, expected, follows
from relay_process import Config, Relay, provider

from relay.testing.upstream import OFFERS, Script, ScriptedUpstream, Upstreams

PATIENCE = {"connect": 3, "command": 3, "data": 3}
SLOW = {"slow": 0.3, "too_slow": 6.0, "drip": 0.3, "idle": 0.2}
SENDERS = "senders.test"
WHO = ("a", "b")
LARGE = 80_000  # more than is written at once with its dot
WORDS = ("delivered", "deferred", "rejected", "uncertain")


@dataclass
class Cell:
    """One case, its two messages, and what was seen of them. `tries`: the words of each attempt, by local part."""

    phase: str
    action: str
    upstream: ScriptedUpstream
    first: str = ""
    after: str = ""
    tries: list[dict[str, str]] = field(default_factory=list)
    after_tries: list[dict[str, str]] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    blames: set[str] = field(default_factory=set)
    bounces: int = 0

    @property
    def name(self) -> str:
        return f"{self.phase}-{self.action}"

    @property
    def domain(self) -> str:
        return f"{self.name}.test"

    @property
    def late(self) -> bool:
        """What happens between two messages needs the second one later."""
        return self.phase in ("quit", "idle")

    def letter(self, which: str) -> bytes:
        lines = [f"X-Cell: {self.name} {which}", "Subject: one of many", "", ".", "..dots", ".and 8 bits: é", ""]
        fill = "0123456789abcdef" * 4 + "\r\n"
        return "\r\n".join(lines).encode() + (fill * (LARGE // len(fill))).encode() * (self.phase == "body")


def script(phase: str, action: str, tls: str, more: Sequence[str] = ()) -> Script:
    """The first connection fails, later ones are as usual. For RSET to be said at all, a and b have to be refused."""
    place = "body@50%" if phase == "body" else phase
    refused = {f"{who}@*": "550 5.1.1 scripted: nobody" for who in WHO} if phase == "rset" else {}
    offers = (*OFFERS, *more)
    return Script(connections=[{place: [action]}], recipients=refused, auth=("PLAIN",), tls=tls, offers=offers, **SLOW)


class Campaign:
    """`run` gives every difference, as a line each."""

    def __init__(self, relay: Callable[..., Relay], upstreams: Upstreams, cells: list[Cell], ca: Path) -> None:
        self.cells = cells
        self._by_name = {cell.name: cell for cell in cells}
        self._ca = ca
        self._home = upstreams.add(Script())
        self._relay = relay(
            providers=[self._provider(cell, active=False) for cell in cells] + [provider("home", self._home.port)],
            routes=[self._route(cell.name, cell.domain) for cell in cells] + [self._route("home", SENDERS)],
            retry={"first": "1s", "max": "1s"},
            circuit={"failures": 1, "open": "1s", "max_open": "1s"},
        )

    def _provider(self, cell: Cell, **more: Any) -> Config:
        tls = cell.upstream.tls
        trust = {} if tls == "none" else {"ca_file": str(self._ca)}
        account = {"username": "me", "password": "open sesame"}
        limits = {"limits": {"connections": 1}, "timeouts": PATIENCE}
        return provider(cell.name, cell.upstream.port, **(account | limits | trust | {"tls": tls} | more))

    def _route(self, name: str, domain: str) -> Config:
        return {"match": {"recipient": f"*@{domain}"}, "providers": [name]}

    def run(self) -> list[str]:
        relay = self._relay.start()
        before = self._sockets()
        self._send(self.cells, WHO, "first")
        self._send([cell for cell in self.cells if not cell.late], ("next",), "after")
        self._configure(lambda cell: {})
        self._interlude()
        self._wait(lambda: self._listing("") == [], 25)
        self._look()
        wrong = [line for cell in self.cells for line in self._judge(cell)]
        return wrong + self._leaks(before) + self._stop(relay)

    # Making it happen.

    def _send(self, cells: Iterable[Cell], who: tuple[str, ...], which: str) -> None:
        with smtp(self._relay.door) as client:
            for cell in cells:
                to = [f"{each}@{cell.domain}" for each in who]
                id = submit(client, to, cell.letter(which), sender=f"{cell.name}@{SENDERS}")
                setattr(cell, which, id)

    def _configure(self, changes: Callable[[Cell], Config]) -> None:
        """Everything is sent at once when the providers become active: first the faults, then what follows."""
        home = self._relay.config["providers"][-1]
        self._relay.config["providers"] = [self._provider(cell, **changes(cell)) for cell in self.cells] + [home]
        self._relay.reload()

    def _interlude(self) -> None:
        """Idle connections have failed, used ones are told to QUIT, suspended accounts are changed; then more mail."""
        late = [cell for cell in self.cells if cell.late]
        suspended = {cell.name for cell in self.cells if self._blames(cell) == {ACCOUNT}}
        self._wait(lambda: all(map(_interrupted, late)), 15)
        self._wait(lambda: suspended <= self._suspended(), 15)
        if suspended or late:
            self._configure(lambda cell: {"weight": 2} if cell.name in suspended or cell.phase == "quit" else {})
        self._send(late, ("next",), "after")

    def _blames(self, cell: Cell) -> set[str]:
        return {fate.blame for fate in expected(cell.phase, cell.action, cell.upstream.tls)}

    def _suspended(self) -> set[str]:
        return {line["provider"] for line in self._relay.events("provider suspended")}

    def _wait(self, condition: Callable[[], bool], seconds: float) -> None:
        """Not longer: what is missing then is told by comparing states, cell by cell."""
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.1)

    # Looking at it.

    def _listing(self, more: str) -> list[Any]:
        found: list[Any] = []
        after = ""
        while True:
            status, text = self._relay.get(f"/v1/messages?limit=1000{more}{after}")
            assert status == 200, text
            page = json.loads(text)
            found += page["data"]
            if not page["has_more"]:
                return found
            after = f"&after={found[-1]['id']}"

    def _look(self) -> None:
        messages = {cell.first: cell.tries for cell in self.cells} | {
            cell.after: cell.after_tries for cell in self.cells
        }
        for line in self._relay.log():
            words = _words(line)
            if words and line.get("message") in messages:
                messages[line["message"]].append(words)
            cell = self._by_name.get(line.get("provider", ""))
            if cell is not None and line["event"] in _BLAMES:
                cell.blames.add(_BLAMES[line["event"]])
        for message in self._listing("&ended=true") + self._listing(""):
            cell = self._by_name.get(message["from"].partition("@")[0])
            if cell is not None:
                cell.states |= {_local(each["address"]): each["state"] for each in message["recipients"]}
        for bounce in self._home.received:
            self._by_name[_local(bounce.recipients[0])].bounces += 1

    # Judging.

    def _judge(self, cell: Cell) -> Iterable[str]:
        fates = expected(cell.phase, cell.action, cell.upstream.tls)
        seen = cell.tries[0] if cell.tries else {}
        blame = ACCOUNT if ACCOUNT in cell.blames else HOST if HOST in cell.blames else ""
        fate = Fate(seen.get("a", "?"), seen.get("b", "?"), blame)
        if fate not in fates:
            stated = " or ".join(map(str, fates))
            yield f"{cell.name}: the first attempt must be {stated}, was {fate}; {_brief(cell.tries)}"
            return
        ends = fate.ends(cell.phase) | {"next": "accepted"}
        if cell.states != ends:
            attempts = f"{_brief(cell.tries)} {_brief(cell.after_tries)}"
            yield f"{cell.name}: must end as {ends}, ended as {cell.states}; {attempts}"
        yield from self._count(cell, fate, ends)
        # An early reply was said before its command, and a relay that hangs up at it never comes to that.
        if not cell.upstream.counts.phases[cell.phase] and cell.action != "early-reply":
            yield f"{cell.name}: it never came to this phase, so nothing went wrong there"
        if not follows(cell.phase, cell.action) and cell.after_tries != [{"next": "delivered"}]:
            yield f"{cell.name}: the next message was penalised: {_brief(cell.after_tries)}"

    def _count(self, cell: Cell, fate: Fate, ends: dict[str, str]) -> Iterable[str]:
        copies: Counter[str] = Counter()
        for mail in cell.upstream.received:
            if not mail.taken:
                continue
            copies.update(map(_local, mail.recipients))
            letter = cell.letter("after" if mail.recipients == (f"next@{cell.domain}",) else "first")
            head, _, rest = mail.content.partition(b"X-Cell:")
            if b"X-Cell:" + rest != letter or not head.startswith(b"Received:"):
                yield f"{cell.name}: the content differs: {mail.content[:300]!r}"
        for who, end in ends.items():
            least = int(end == "accepted")
            most = least + (fate.uncertain and who != "next")
            if cell.phase == "dot":
                least = most  # it keeps what it never answered: were copies not seen, they would be missed here
            if not least <= copies[who] <= most:
                times = f"{least} to {most} times, was {copies[who]}"
                yield f"{cell.name}: {who} must be taken {times}; {_brief(cell.tries)}"
        bounces = int("failed" in ends.values())
        if cell.bounces != bounces:
            yield f"{cell.name}: {bounces} bounces must be sent, were {cell.bounces}"

    # Leaving.

    def _sockets(self) -> int:
        links = []
        for number in Path(f"/proc/{self._relay.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                links.append(number.readlink())
        return sum(str(link).startswith("socket:") for link in links)

    def _leaks(self, before: int) -> list[str]:
        """Without providers every connection ends."""
        self._relay.config |= {"providers": [], "routes": []}
        self._relay.reload()
        self._wait(lambda: self._sockets() <= before, 10)
        left = self._sockets()
        return [] if left <= before else [f"{left} sockets are open at the end, {before} were at the beginning"]

    def _stop(self, relay: Relay) -> list[str]:
        start = time.monotonic()
        code, took = relay.terminate(15), time.monotonic() - start
        return [] if code == 0 and took < 5 else [f"it stopped with {code} after {took:.1f} s"]


_BLAMES = {"provider out of reach, not tried for a while": HOST, "provider suspended": ACCOUNT}


def _interrupted(cell: Cell) -> bool:
    """The first message is through, and in idle cells what had to happen then has begun."""
    if cell.phase == "idle":
        return cell.upstream.counts.phases["idle"] > 0
    return any(mail.taken for mail in cell.upstream.received)


def _words(line: dict[str, Any]) -> dict[str, str]:
    """What an attempt said of each recipient, by local part; {} if the line is about something else."""
    if "to" in line:
        return {_local(address): line["event"] for address in line["to"]} if line["event"] in WORDS else {}
    return {_local(shown): word for word in WORDS for shown in line.get(word, ())}


def _brief(tries: list[dict[str, str]]) -> str:
    """The first attempts are what matters."""
    return f"{tries[:3]}" + (f" and {len(tries) - 3} more" if len(tries) > 3 else "")


def _local(address: str) -> str:
    return address.partition("@")[0]
