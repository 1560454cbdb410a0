"""The desk of the spool in memory: people look at the queue and act on it.

The part of MemorySpool that implements `ports.Desk` and `ports.Happenings`. It shares its rules with the one on disk:
`views`, `verbs`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence

from relay.events import MessageEnded, Observer
from relay.model import Happening, MessageId, State, TimelineEvent
from relay.ports import Acted, Clock, Filter, MessageView, Page, QueueStats
from relay.spool import ids, settling, verbs, views
from relay.spool.limits import Gauge
from relay.spool.memory_state import Entry, Live, Record, Store
from relay.spool.views import Gone


class MemoryDesk:
    """Reads and changes the same store that claims and settlements do."""

    def __init__(self, store: Store, gauge: Gauge, observe: Observer, clock: Clock) -> None:
        self._store = store
        self._gauge = gauge
        self._observe = observe
        self._clock = clock
        self._news = asyncio.Event()

    async def find(self, where: Filter, *, limit: int, after: str = "") -> Page:
        found = sorted(self._found(where), key=lambda shown: shown.id)
        rest = [shown for shown in found if shown.id > after]
        return Page(data=tuple(rest[:limit]), has_more=len(rest) > limit)

    def _found(self, where: Filter) -> Iterator[MessageView]:
        if views.looks_live(where):
            for live in self._store.live.values():
                shown = _live_view(live)
                if views.matches(where, shown, views.providers(live.message, live.shown(), live.past)):
                    yield shown
        if views.looks_back(where):
            for record in self._store.history.values():
                shown = _record_view(record)
                if views.matches(where, shown, views.providers(record.message, (), record.past)):
                    yield shown

    async def show(self, message: str) -> MessageView | None:
        number = ids.find(message)
        key = ids.encode(number) if number is not None else MessageId("")
        if key in self._store.live:
            return _live_view(self._store.live[key], timeline=True)
        record = self._store.history.get(key)
        return _record_view(record, timeline=True) if record else None

    async def act(self, action: str, where: Filter, now: float, *, provider: str = "", dry_run: bool = False) -> Acted:
        verbs.check(action, provider)
        changed: list[MessageId] = []
        skipped: dict[str, str] = {}
        for live in sorted(self._store.live.values(), key=lambda live: live.message.id):
            if not views.matches(where, _live_view(live), views.providers(live.message, live.shown(), live.past)):
                continue
            rulings = [(entry, verbs.rule(action, entry.shown(), now, provider)) for entry in live.entries]
            if all(ruling.refused for _, ruling in rulings):
                skipped[live.message.id] = rulings[0][1].refused
                continue
            changed.append(live.message.id)
            if not dry_run:
                self._do(action, live, rulings, now)
        return Acted(changed=tuple(changed), skipped=skipped)

    async def happenings(self, *, limit: int, after: str = "", name: str = "") -> tuple[Sequence[Happening], bool]:
        before = ids.find(after)
        found = [
            happening
            for number, happening in sorted(self._store.happenings.items(), reverse=True)
            if (before is None or number < before) and name in ("", happening.name)
        ]
        return found[:limit], len(found) > limit

    async def happening(self, id: str) -> Happening | None:
        number = ids.find(id)
        return None if number is None else self._store.happenings.get(number)

    def _do(self, action: str, live: Live, rulings: list[tuple[Entry, verbs.Ruling]], now: float) -> None:
        live.past.append(TimelineEvent(at=now, kind=verbs.KINDS[action]))
        for entry, ruling in rulings:
            entry.wish = ruling.wish or entry.wish
            entry.owed = ruling.owed or entry.owed
            if ruling.cancelled:
                self._cancel_entry(live, entry, "")
        self._end(live, now)
        self._news.set()

    def _cancel(self, live: Live, why: str, now: float) -> None:
        """All that is not being sent of a message ends."""
        for entry in [entry for entry in live.entries if not entry.leased]:
            self._cancel_entry(live, entry, why)
        self._end(live, now)

    def _cancel_entry(self, live: Live, entry: Entry, why: str) -> None:
        live.entries.remove(entry)
        gone = [settling.cancelled(recipient, why) for recipient in entry.owed.recipients]
        live.past += [Gone(ended=ended, tries=entry.owed.tries) for ended in gone]

    def _end(self, live: Live, now: float) -> None:
        """A message of which nothing is owed any more becomes a record."""
        if live.entries:
            return
        record = Record(live.message, live.past, now)
        del self._store.live[live.message.id]
        self._store.history[live.message.id] = record
        self._gauge.live -= live.message.size
        self._observe(MessageEnded(message=live.message.id, state=settling.first(record.states)))

    async def stats(self) -> QueueStats:
        counts: Counter[str] = Counter(_live_view(live).state for live in self._store.live.values())
        counts.update(settling.first(record.states) for record in self._store.history.values())
        ages = [
            live.message.received_at
            for live in self._store.live.values()
            if any(entry.owed.state is not State.CAPTURED for entry in live.entries)
        ]
        return QueueStats(
            states=dict(counts),
            oldest=min(ages, default=None),
            live_bytes=self._gauge.live,
            max_bytes=self._gauge.limits.max_size,
            free_bytes=self._gauge.free,
            healthy=not self._gauge.failure,
            detail=self._gauge.failure,
        )


def _live_view(live: Live, *, timeline: bool = False) -> MessageView:
    return views.view(live.message, live.shown(), live.past, timeline=timeline)


def _record_view(record: Record, *, timeline: bool = False) -> MessageView:
    return views.view(record.message, (), record.past, record.ended_at, timeline=timeline)
