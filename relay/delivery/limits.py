"""How much a provider may still be given: a sliding minute, and calendar days and months in the provider's timezone.

Called by provider (one Meter each). Never sends, stores or waits: what it reserves in memory the Budget makes durable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from relay.model import Limits, Reservation, Spent, Usage

MINUTE = 60.0


class Blocked(Struct, frozen=True, kw_only=True):
    """A window (minute | day | month) is used up, until that time. `limit`: ours, None: the provider says so itself."""

    window: str
    until: float
    limit: int | None = None


class Calendar(Struct, frozen=True, kw_only=True):
    """One day or month of a timezone: its key in the counters and when the next one begins."""

    window: str
    key: str
    until: float


def calendars(now: float, timezone: str) -> tuple[Calendar, Calendar]:
    """The day and the month that `now` lies in. Days have 23 or 25 hours where the clocks change."""
    zone = ZoneInfo(timezone)
    local = datetime.fromtimestamp(now, zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    tomorrow = midnight + timedelta(days=1)  # wall-clock arithmetic: still midnight, whatever happens in between
    next_month = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    return (
        Calendar(window="day", key=f"day:{local:%Y-%m-%d}", until=tomorrow.timestamp()),
        Calendar(window="month", key=f"month:{local:%Y-%m}", until=next_month.timestamp()),
    )


class Meter:
    """The quota of one provider. What is reserved counts at once; what was not taken is given back.

    The minute counts what is in flight and what ended in the last 60 s. The upstream takes a message somewhere between
    the two, so in no 60 s can it have seen more than `per_minute`.
    """

    def __init__(self, provider: str, limits: Limits) -> None:
        self.provider = provider
        self.limits = limits
        self._in_flight = 0
        self._recent: deque[tuple[float, int]] = deque()
        self._recent_sum = 0
        self._used: dict[str, int] = {}
        self._exhausted: dict[str, float] = {}
        self._calendars: tuple[Calendar, ...] = ()
        self._zone = ""
        self._began = 0.0

    def load(self, usage: Usage) -> None:
        """Take over what was used unknown to us. Of a period the larger count is right: who counts less began later."""
        if not (self._recent or self._in_flight):
            self._recent = deque(sorted(usage.minute))
            self._recent_sum = sum(amount for _, amount in usage.minute)
        self._used |= {key: max(amount, self._used.get(key, 0)) for key, amount in usage.periods.items()}

    def left(self, now: float) -> Mapping[str, int]:
        """What remains, for each window that has a limit."""
        left: dict[str, int] = {}
        if self.limits.per_minute is not None:
            self._forget(now)
            left["minute"] = max(0, self.limits.per_minute - self._in_flight - self._recent_sum)
        for calendar, limit in self._limited(now):
            left[calendar.window] = max(0, limit - self._used.get(calendar.key, 0))
        return left

    def room(self, now: float) -> int | None:
        """How much may be reserved now, None: no limit."""
        if self._exhausted and self._refused(now):
            return 0
        return min(self.left(now).values(), default=None) if self.limits.metered else None

    def blocked(self, now: float) -> Blocked | None:
        """The window that is used up, if one is; of several the one that lasts longest."""
        if not self.limits.metered and not self._exhausted:
            return None
        refused = self._refused(now)
        spent = [
            Blocked(window=calendar.window, until=calendar.until, limit=limit)
            for calendar, limit in self._limited(now)
            if self._used.get(calendar.key, 0) >= limit
        ]
        longest = max((*refused, *spent), key=lambda block: block.until, default=None)
        return longest or self._blocked_minute(now)

    def reserve(self, amount: int, now: float, number: int) -> Reservation:
        """Count `amount` as used. The caller has seen that there is room; `number` becomes the reservation's id."""
        periods = tuple(calendar.key for calendar in self._now(now))
        for key in periods:
            self._used[key] = self._used.get(key, 0) + amount
        self._in_flight += amount
        return Reservation(id=number, provider=self.provider, amount=amount, at=now, periods=periods)

    def settle(self, reservation: Reservation, taken: int, now: float) -> Spent:
        """End a reservation. The rest goes back to the periods it was taken from, even if these are over."""
        self._in_flight -= reservation.amount
        for key in reservation.periods:
            self._used[key] = max(0, self._used.get(key, 0) - reservation.amount + taken)
        if taken:
            self._recent.append((now, taken))
            self._recent_sum += taken
        return Spent(reservation=reservation, taken=taken, at=now)

    def exhaust(self, window: str, now: float) -> None:
        """The provider itself says that the day's or the month's quota is gone."""
        day, month = self._now(now)
        self._exhausted[window] = (month if window == "month" else day).until

    def _refused(self, now: float) -> tuple[Blocked, ...]:
        self._exhausted = {window: until for window, until in self._exhausted.items() if until > now}
        return tuple(Blocked(window=window, until=until) for window, until in self._exhausted.items())

    def _blocked_minute(self, now: float) -> Blocked | None:
        limit = self.limits.per_minute
        if limit is None:
            return None
        self._forget(now)
        if self._in_flight + self._recent_sum < limit:
            return None
        # All in flight: nobody knows when one ends; a second is soon enough to look again.
        until = self._recent[0][0] + MINUTE if self._recent else now + 1.0
        return Blocked(window="minute", until=max(until, now + 0.05), limit=limit)

    def _forget(self, now: float) -> None:
        """Drop what is older than a minute. What lies in the future after the clock was set back counts as of now."""
        recent = self._recent
        while recent and recent[0][0] <= now - MINUTE:
            self._recent_sum -= recent.popleft()[1]
        if recent and recent[-1][0] > now:
            self._recent = deque((min(at, now), amount) for at, amount in recent)

    def _limited(self, now: float) -> list[tuple[Calendar, int]]:
        limits = {"day": self.limits.per_day, "month": self.limits.per_month}
        if limits["day"] is None and limits["month"] is None:
            return []
        return [(c, limit) for c in self._now(now) if (limit := limits[c.window]) is not None]

    def _now(self, now: float) -> tuple[Calendar, ...]:
        """The current day and month; worked out again when the day is over or the clock or timezone was changed."""
        known = self._calendars and self._zone == self.limits.timezone
        if not known or not self._began <= now < self._calendars[0].until:
            self._zone = self.limits.timezone
            self._calendars = calendars(now, self._zone)
            self._began = now
            self._prune()
        return self._calendars

    def _prune(self) -> None:
        """Keep the last few days and months: a clock that jumps ahead and comes back must find today's count."""
        for window in ("day:", "month:"):
            for key in sorted(key for key in self._used if key.startswith(window))[:-3]:
                del self._used[key]
