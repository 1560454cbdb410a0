"""Random mail for the campaigns: every kind of content and envelope a relay must not mind, from one seed.

`proof.load` sends it. A letter costs some 20 µs: bodies are cut out of blocks made once. It knows nothing of the relay.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

MARK = b"X-Ledger: "
SOFT, HARD = "-soft", "-hard"
"""What ends a local part tells the upstream: refuse it once with 450, refuse it always with 550."""

SENDERS = "app.test"
BLOCK = 128 * 1024
SMALL, LARGE, HUGE = (100, 8 * 1024), (257 * 1024, 400 * 1024), (5 * 1024 * 1024, 40 * 1024 * 1024)
SPECIAL = (
    b"",
    b"\r\n",
    b"x\r\n",
    b".\r\n",
    b"..\r\n.\r\n\r\n",
    b"\r\n.\r\n",
    b"no header section at all\r\n.\r\n",
    b"Subject: header only\r\n",
    b"Subject: folded\r\n\tand again\r\n\r\n\xff\xfe\r\n",
    b" begins with a blank\r\n",
    b"\xe4: \xf6\r\n\r\n\xfc\r\n",
)
"""Small contents in which there is no place for the mark; they are compared whole."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How much of what, each a share of all letters, or of all recipients for `soft` and `hard`."""

    large: float = 0.01
    huge: float = 0.0002
    special: float = 0.01
    null: float = 0.02
    fields: float = 0.8
    soft: float = 0.01
    hard: float = 0.005


@dataclass(frozen=True, slots=True)
class Letter:
    """`content`: unstuffed, with CRLF. `whole`: it carries no mark."""

    id: str
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    sha256: str
    whole: bool

    @property
    def wire(self) -> bytes:
        """What goes between 354 and the answer to the dot (RFC 5321 4.5.2); not the relay's own codec."""
        stuffed = self.content.replace(b"\r\n.", b"\r\n..")
        return (b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n"


class Letters:
    """An endless supply: `run` begins every id, so that no two supplies of one campaign may share it."""

    def __init__(self, seed: int, run: str, domains: Sequence[str], mix: Mix | None = None) -> None:
        self._dice = random.Random(f"{seed}/{run}")
        self._run = run
        self._domains = tuple(domains)
        self._mix = mix or Mix()
        self._made = 0
        self._block, self._starts = _block(self._dice)

    def make(self) -> Letter:
        self._made += 1
        name = f"{self._run}-{self._made}"
        whole = self._dice.random() < self._mix.special
        content = self._dice.choice(SPECIAL) if whole else self._marked(name)
        return Letter(
            id=name,
            sender="" if self._dice.random() < self._mix.null else f"{name}@{SENDERS}",
            recipients=tuple([self._recipient(name, number) for number in range(self._count())]),
            content=content,
            sha256=hashlib.sha256(content).hexdigest(),
            whole=whole,
        )

    def _marked(self, name: str) -> bytes:
        fields = MARK + name.encode() + b"\r\n"
        if self._dice.random() < self._mix.fields:
            fields += b"From: <%s@app.test>\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n" % name.encode()
        if self._dice.random() < self._mix.fields:
            fields += b"Message-ID: <%s@app.test>\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n" % name.encode()
        return fields + b"\r\n" + self._body()

    def _body(self) -> bytes:
        """From a line's start to anywhere, ended by CRLF."""
        size, start = self._size(), self._dice.choice(self._starts)
        body = self._block[start : start + size]
        if len(body) < size:
            body += self._block * ((size - len(body)) // BLOCK) + self._block[: (size - len(body)) % BLOCK]
        return body.rstrip(b"\r\n") + b"\r\n"

    def _size(self) -> int:
        lot, mix = self._dice.random(), self._mix
        if lot < mix.huge:
            return self._dice.randint(*HUGE)
        if lot < mix.huge + mix.large:
            return self._dice.randint(*LARGE)
        low, high = SMALL
        return int(low * (high / low) ** self._dice.random())

    def _count(self) -> int:
        lot = self._dice.random()
        if lot < 0.8:
            return 1
        if lot < 0.95:
            return self._dice.randint(2, 5)
        return self._dice.randint(6, 15) if lot < 0.99 else 50

    def _recipient(self, name: str, number: int) -> str:
        lot, mix = self._dice.random(), self._mix
        wish = SOFT if lot < mix.soft else HARD if lot < mix.soft + mix.hard else ""
        return f"{name}-{number}{wish}@{self._dice.choice(self._domains)}"


def _block(dice: random.Random) -> tuple[bytes, list[int]]:
    """Lines of all kinds, of `BLOCK` bytes altogether, and where they start."""
    lines, starts, size = list[bytes](), list[int](), 0
    while size < BLOCK - 2:
        starts.append(size)
        lines.append(_line(dice) + b"\r\n")
        size += len(lines[-1])
    return b"".join(lines)[: BLOCK - 2].rstrip(b"\r\n").ljust(BLOCK - 2, b"x") + b"\r\n", starts[:-1]


def _line(dice: random.Random) -> bytes:
    lot = dice.random()
    if lot < 0.7:
        return bytes(dice.choices(range(32, 127), k=dice.randrange(1, 78)))
    if lot < 0.8:
        return dice.choice((b".", b"..", b". ", b".x", b"...", b""))
    if lot < 0.98:
        return dice.randbytes(dice.randrange(1, 200)).translate(bytes.maketrans(b"\r\n\0", b"..."))
    return b"." * (lot < 0.99) + dice.randbytes(5000).translate(bytes.maketrans(b"\r\n\0", b"xyz"))
