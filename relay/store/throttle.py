"""How long somebody who gave wrong passwords has to wait: by client, and by user name.

Asked by `passwords` before one is judged. Pure: seconds that never go back are passed in. Its memory is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TypeVar

FREE = 5  # failures that cost nothing: people mistype
FIRST = 1.0  # seconds to wait after the next one; each more doubles it
LONGEST = 64.0
FORGIVEN = 900.0  # a quiet quarter of an hour forgives all
KNOWN = 4096  # clients, names and pairs of them; who was silent longest is forgotten first
_LONGEST_NAME = 128  # SMTP lets a client claim names of kilobytes

Key = tuple[str, ...]
Keys = tuple[Key, ...]
V = TypeVar("V")


@dataclass(slots=True)
class _Record:
    failures: int = 0
    last: float = 0.0
    trying: bool = False

    def wait(self, now: float) -> float:
        """Seconds until the next try. Once it has to wait at all, its tries come one by one."""
        if self.failures <= FREE or now - self.last >= FORGIVEN:
            return 0.0
        left = self.last + min(FIRST * 2.0 ** min(self.failures - FREE - 1, 16), LONGEST) - now
        return left if left > 0 else FIRST if self.trying else 0.0


class Throttle:
    """Whoever logged in from a place before answers there for its own failures only: strangers, or another program on
    the same machine whose password is wrong, cannot keep it out.
    """

    def __init__(self) -> None:
        self._records: OrderedDict[Key, _Record] = OrderedDict()
        self._trusted: OrderedDict[Key, None] = OrderedDict()

    def keys(self, client: str, name: str) -> Keys:
        """What a try counts for."""
        pair = _pair(client, name)
        return (pair,) if pair in self._trusted else (("client", pair[0], ""), ("name", "", pair[1]))

    def enter(self, keys: Keys, now: float) -> float:
        """Seconds to wait. 0: go on, and say to `leave` how it went."""
        records = [self._records[key] for key in keys if key in self._records]
        wait = max((record.wait(now) for record in records), default=0.0)
        if not wait:
            for record in records:
                record.trying = True
        return wait

    def leave(self, keys: Keys, right: bool | None, now: float) -> None:
        """`right` None: nobody judged it."""
        for key in keys:
            if right is False:
                self._failed(key, now)
            elif key in self._records:
                self._records[key].trying = False

    def succeeded(self, client: str, name: str) -> None:
        """It has its own account from now on. What the client or the name had to answer for stays."""
        pair = _pair(client, name)
        self._records.pop(pair, None)
        _remember(self._trusted, pair, None)

    def _failed(self, key: Key, now: float) -> None:
        record = self._records.get(key) or _Record()
        record.failures = 1 if now - record.last >= FORGIVEN else record.failures + 1
        record.last, record.trying = now, False
        _remember(self._records, key, record)


def _pair(client: str, name: str) -> Key:
    return _place(client), name[:_LONGEST_NAME]


def _place(client: str) -> str:
    """Of an IPv6 address its network: whoever has one has all of the 2^64 addresses in it, at least (RFC 6177)."""
    try:
        address = ip_address(client)
    except ValueError:  # "unix"
        return client
    if not isinstance(address, IPv6Address):
        return client
    return str(address.ipv4_mapped or f"{IPv6Address(int(address) >> 64 << 64)}/64")


def _remember(known: OrderedDict[Key, V], key: Key, value: V) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > KNOWN:
        known.popitem(last=False)
