"""Messages as people see them, from what the spool knows of them. Pure, shared by both spools.

Used by the desks. It decides no state; it only shows the first one in order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase

from msgspec import Struct

from relay.model import ENDED, Ended, Message, Owed, Source, TimelineEvent
from relay.ports import Filter, MessageView, RecipientView
from relay.spool.settling import WAITING, first


class Gone(Struct, frozen=True, kw_only=True):
    """A recipient that left the queue, and after how many tries."""

    ended: Ended
    tries: int


Past = Gone | TimelineEvent


def view(
    message: Message, entries: Sequence[Owed], past: Sequence[Past], ended_at: float | None = None, *, timeline: bool
) -> MessageView:
    """The whole message; `entries` with the state they show (SENDING when leased)."""
    events = tuple(item for item in past if isinstance(item, TimelineEvent))
    shown = _recipients(message, entries, past, events)
    return MessageView(
        id=message.id,
        state=first([recipient.state for recipient in shown]),
        sender=message.envelope.sender,
        recipients=shown,
        size=message.size,
        source=source(message.source),
        received_at=message.received_at,
        ended_at=ended_at,
        expires_at=message.expires_at,
        labels=message.labels,
        identity=message.identity,
        via=message.via,
        timeline=events if timeline else (),
    )


def source(source: Source) -> str:
    """For people: "smtp internal 127.0.0.1 crm", as far as it is known."""
    return " ".join(part for part in (source.kind, source.listener, source.client, source.user) if part)


def _recipients(
    message: Message, entries: Sequence[Owed], past: Sequence[Past], events: Sequence[TimelineEvent]
) -> tuple[RecipientView, ...]:
    shown = {item.ended.recipient.address: _gone(item) for item in past if isinstance(item, Gone)}
    for owed in entries:
        for recipient in owed.recipients:
            shown[recipient.address] = _owed(recipient.address, owed, events, message.via)
    return tuple(shown[r.address] for r in message.envelope.recipients if r.address in shown)


def _gone(item: Gone) -> RecipientView:
    end = item.ended
    return RecipientView(
        address=end.recipient.address, state=end.state, provider=end.provider, reason=end.reply, tries=item.tries
    )


def _owed(address: str, owed: Owed, events: Sequence[TimelineEvent], via: str) -> RecipientView:
    tried = [e for e in events if e.kind == "attempt" and (not e.recipients or address in e.recipients)]
    last = tried[-1] if tried else None
    return RecipientView(
        address=address,
        state=owed.state,
        provider=owed.pin or (last.provider if last else via),
        reason=owed.reason or (last.detail if last else ""),
        tries=owed.tries,
        due_at=owed.due_at if owed.state in WAITING else None,
        lane=owed.lane if owed.state in WAITING else "",
    )


# Filters


def looks_live(where: Filter) -> bool:
    """True when messages that have not ended may match."""
    return not where.states or any(state not in ENDED for state in where.states)


def looks_back(where: Filter) -> bool:
    """True when history may match."""
    return where.ended or any(state in ENDED for state in where.states)


def matches(where: Filter, shown: MessageView, providers: frozenset[str]) -> bool:
    """True when the message is asked for. `providers`: all that it has to do with."""
    return (
        (not where.id or where.id == shown.id)
        and (not where.states or shown.state in where.states)
        and (where.older is None or shown.received_at < where.older)
        and (not where.sender or glob(where.sender, shown.sender))
        and (not where.recipient or any(glob(where.recipient, r.address) for r in shown.recipients))
        and (not where.provider or where.provider in providers)
        and (not where.tag or where.tag in _tags(shown))
        and (not where.text or _contains(shown, needles(where.text)))
    )


def _tags(shown: MessageView) -> Sequence[str]:
    return shown.labels.tags if shown.labels else ()


def _contains(shown: MessageView, needles: Sequence[str]) -> bool:
    texts = (shown.id, shown.sender, *(recipient.address for recipient in shown.recipients), *_tags(shown))
    return any(needle in text.translate(_LOWER) for needle in needles for text in texts)


def needles(text: str) -> tuple[str, ...]:
    """What to look for in what SQLite's lower() makes of a text: it knows the letters of ASCII only, so that those of
    others are looked for as they were given, all small and all large.
    """
    return tuple(dict.fromkeys(form.translate(_LOWER) for form in (text, text.lower(), text.upper()) if form))


_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


def providers(message: Message, entries: Sequence[Owed], past: Sequence[Past]) -> frozenset[str]:
    """The providers a message names, was tried at, is pinned to or was turned down by."""
    names = {message.via, *(item.ended.provider if isinstance(item, Gone) else item.provider for item in past)}
    for owed in entries:
        names |= {owed.pin, *owed.avoid, *owed.refused}
    return frozenset(names - {""})


def glob(pattern: str, text: str) -> bool:
    """A shell glob, without regard to case."""
    return _compiled(pattern.lower()).match(text.lower()) is not None


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
