"""How messages, debts and the past are written in the database: compact JSON beside the columns that SQL looks at.

Used by the parts of the SQLite spool. It does no SQL; what it writes it reads back, and fields added to the model later
take their defaults when old rows are read.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from relay.db.changes import Change, Kind
from relay.model import (
    NO_ROUTE,
    Claim,
    Ended,
    Envelope,
    Labels,
    Message,
    MessageId,
    Owed,
    Recipient,
    Rewrite,
    Source,
    State,
    Submission,
    TimelineEvent,
)
from relay.spool import seals
from relay.spool.settling import RANK, STATES, WAITING
from relay.spool.views import Gone, Past

_to_json = msgspec.json.Encoder().encode
_COLUMNS = {"recipients", "lane", "state", "due_at", "deadline", "since"}
_DETAILS = {field.name: field.default for field in fields(Owed) if field.name not in _COLUMNS}
_SENDING = RANK[State.SENDING]
_LAST = 1e11  # seconds: a year of four digits


class Debt(Struct, frozen=True, kw_only=True):
    """An entry as it is to be inserted: what is owed, and whether it is leased from birth."""

    owed: Owed
    leased: bool = False


def _encode(value: object) -> str:
    return _to_json(value).decode()


def _decode(text: str) -> Any:
    """ValueError also for text that a flipped bit made no UTF-8, which is read as surrogates (hazard G6)."""
    return json.loads(_text(text).encode())


def _text(value: object) -> str:
    """A flipped bit makes a BLOB of a text, which SQLite may take for JSONB: it comes back as anything JSON has."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


# Messages


def meta(message: Message) -> str:
    """Envelope and source, then what few messages have. The places of sender (0), recipients (1), tags (9, 0) and the
    provider it names (11) are known to the SQL of the desk.
    """
    envelope, source = message.envelope, message.source
    facts = (
        envelope.sender,
        [(r.address, r.notify, r.orcpt) if r.notify or r.orcpt else (r.address,) for r in envelope.recipients],
        envelope.eight_bit | envelope.utf8 << 1,
        envelope.ret,
        envelope.envid,
        source.kind,
        source.listener,
        source.client,
        source.user,
    )
    if message.labels is None and message.identity is None and not message.via:
        return _encode(facts)
    return _encode((*facts, *_extras(message.labels, message.identity, message.via)))


def _extras(labels: Labels | None, identity: Rewrite | None, via: str) -> tuple[object, ...]:
    """As few as will do."""
    written = (labels.tags, labels.metadata) if labels else None
    changes = _changes(identity) if identity else None
    if via:
        return written, changes, via
    return (written, changes) if changes else (written,)


def _changes(rewrite: Rewrite) -> tuple[str, str, str]:
    return rewrite.envelope_from, rewrite.header_from, rewrite.reply_to


def _rewrite(changes: Iterable[object]) -> Rewrite:
    envelope_from, header_from, reply_to = map(_text, changes)
    return Rewrite(envelope_from=envelope_from, header_from=header_from, reply_to=reply_to)


def message(id_: MessageId, text: str, size: int, received_at: float, expires_at: float, prefix: bytes) -> Message:
    """The message of a row. ValueError, TypeError, IndexError when the row is damaged."""
    _check(size, received_at, expires_at)
    sender, recipients, flags, ret, envid, kind, listener, client, user, *extras = _decode(text)
    labels, identity, via = _read_extras(*extras) if extras else (None, None, "")
    envelope = Envelope(
        sender=sender,
        recipients=tuple(
            [Recipient(address=r[0], notify=r[1], orcpt=r[2]) if r[1:] else _plain(r) for r in recipients]
        ),
        eight_bit=bool(flags & 1),
        utf8=bool(flags & 2),
        ret=ret,
        envid=envid,
    )
    source = Source(kind=kind, listener=listener, client=client, user=user)
    return Message(
        id=id_,
        envelope=envelope,
        prefix=prefix,
        size=size,
        source=source,
        received_at=received_at,
        expires_at=expires_at,
        labels=labels,
        identity=identity,
        via=via,
    )


def _read_extras(labels: Any, identity: Any = None, via: Any = "") -> tuple[Labels | None, Rewrite | None, str]:
    return _read_labels(labels), None if identity is None else _rewrite(identity), _text(via)


def _read_labels(labels: Any) -> Labels | None:
    if labels is None:
        return None
    tags, metadata = labels
    known = {_text(name): _text(value) for name, value in dict(metadata).items()}
    return Labels(tags=tuple(map(_text, tags)), metadata=known)


def _check(size: object, *times: object) -> None:
    """A column has another type once the byte that says so is flipped; TypeError or ValueError then."""
    if type(size) is not int:
        raise TypeError("not a size")
    for at in times:
        moment(at)


def moment(at: object) -> None:
    """ValueError for a time that no calendar has."""
    if not isinstance(at, int | float) or not 0 <= at < _LAST:
        raise ValueError("not a time")


def believable(size: object, received_at: object) -> tuple[int, float]:
    """What of a damaged row can be shown; 0 for what cannot."""
    try:
        moment(received_at)
        at = cast(float, received_at)
    except ValueError:
        at = 0.0
    return size if type(size) is int else 0, at


def _plain(recipient: Sequence[str]) -> Recipient:
    return Recipient(address=recipient[0])


# Debts


def details(owed: Owed, everybody: Sequence[Recipient]) -> str:
    """What has no column of its own. `to`: places in the envelope, missing when it is owed to all of it."""
    if owed == _new(owed, everybody):
        return "{}"
    found: dict[str, Any] = {name: value for name, usual in _DETAILS.items() if (value := getattr(owed, name)) != usual}
    if owed.since != owed.due_at:
        found["since"] = owed.since
    if owed.recipients != everybody:
        places = {recipient.address: place for place, recipient in enumerate(everybody)}
        found["to"] = [places[recipient.address] for recipient in owed.recipients]
    return seals.with_sum(_encode(found)) if found else "{}"


def _new(owed: Owed, everybody: Sequence[Recipient]) -> Owed:
    """The debt with what has a column, and the rest as it is for new mail."""
    at = owed.due_at
    return Owed(
        recipients=tuple(everybody), lane=owed.lane, state=owed.state, since=at, due_at=at, deadline=owed.deadline
    )


def owed(text: str, lane: str, state: State, due_at: float, deadline: float, everybody: Sequence[Recipient]) -> Owed:
    """The debt of a row. ValueError, TypeError, IndexError when the row is damaged."""
    moment(due_at)
    if not isinstance(deadline, int | float):
        raise TypeError("not a time")
    found = _decode(seals.without_sum(_text(text)))
    _text(lane).encode()
    if not isinstance(found, dict):
        raise TypeError("details are an object")
    places = found.pop("to", None)
    recipients = tuple(everybody) if places is None else tuple([everybody[place] for place in places])
    since = found.pop("since", due_at)
    kept: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
    return Owed(recipients=recipients, lane=lane, state=state, since=since, due_at=due_at, deadline=deadline, **kept)


def arrival(number: int, submission: Submission, debts: Sequence[Debt]) -> list[Change]:
    """A new message, its id as a number, with its entries; their parts count from 0."""
    message, body = submission.message, submission.body
    everybody = message.envelope.recipients
    first, *others = debts
    envelope = meta(message)
    change = Change(
        Kind.ARRIVE,
        number,
        0,
        *_entry(first, everybody),
        envelope,
        message.size,
        message.received_at,
        message.expires_at,
        message.prefix,
        seals.seal(envelope, message.prefix, zlib.crc32(body.data) if body.data is not None else body.crc),
        body.data,
    )
    return [change, *[Change(Kind.OWE, number, None, *_entry(debt, everybody)) for debt in others]]


def debt(number: int, owed: Owed, everybody: Sequence[Recipient]) -> Change:
    """One more entry of a message."""
    return Change(Kind.OWE, number, None, *_entry(Debt(owed=owed), everybody))


def revision(number: int, part: int, owed: Owed, everybody: Sequence[Recipient]) -> Change:
    """An entry that stays, changed."""
    return Change(Kind.REVISE, number, part, *_entry(Debt(owed=owed), everybody))


def _entry(debt: Debt, everybody: Sequence[Recipient]) -> tuple[str, int, int, float, float, str]:
    owed = debt.owed
    text = details(owed, everybody)
    if debt.leased:
        return owed.lane, _SENDING, 0, owed.due_at, owed.deadline, text
    return owed.lane, RANK[owed.state], owed.state in WAITING, owed.due_at, owed.deadline, text


def lease(number: int, part: int) -> Change:
    return Change(Kind.LEASE, number, part)


# Idempotency keys


def claim(claim: Claim) -> Change:
    """A key in use, for the operation of its messages."""
    return Change(
        Kind.CLAIM, lane=claim.owner, due_at=claim.at, owed=claim.key, meta=_encode((claim.digest, claim.answer))
    )


def claimed(owner: str, key: str, what: str, at: float) -> Claim:
    """The claim of a row. One that a flipped bit made unreadable is in use all the same, by no request there is."""
    try:
        digest, answer = map(_text, _decode(what))
    except (ValueError, TypeError):
        digest, answer = "", ""
    return Claim(owner=owner, key=key, digest=digest, answer=answer, at=at)


# The past


def done(
    number: int, part: int, at: float, ended: Sequence[Ended], events: Iterable[TimelineEvent], tries: int
) -> Change:
    """An entry is consumed; what became of its recipients and what happened goes to the record."""
    items: list[object] = [(0, end.provider, end.recipient.address, RANK[end.state], end.reply, tries) for end in ended]
    items += [_happened(event) for event in events]
    state = min([RANK[end.state] for end in ended]) if ended else None
    return Change(Kind.DONE, number, part, None, state, None, at, None, _encode(items)[1:-1])


def note(number: int, event: TimelineEvent) -> Change:
    """Something happened to a message that goes on."""
    return Change(Kind.NOTE, number, owed=_encode(_happened(event)))


def _happened(event: TimelineEvent) -> tuple[object, ...]:
    """What is said of attempts only comes last, and as little of it as will do: most are by no route, unchanged."""
    item = (1, event.provider, event.at, event.kind, event.recipients, event.detail)
    if event.rewrite is not None:
        return *item, event.conversation, event.rule, _changes(event.rewrite)
    if event.rule == NO_ROUTE:
        return *item, event.conversation
    return item if event.rule is None and not event.conversation else (*item, event.conversation, event.rule)


def past(text: str) -> list[Past]:
    """What `done` and `note` wrote, as a JSON array."""
    return [_item(*item) for item in _decode(text)]


def _item(kind: int, provider: str, *rest: Any) -> Past:
    if kind == 0:
        address, rank, reply, tries = rest
        ended = Ended(recipient=Recipient(address=address), state=STATES[rank], provider=provider, reply=reply)
        return Gone(ended=ended, tries=tries)
    at, what, recipients, detail, *said = rest
    conversation, rule, rewrite = _read_said(*said) if said else ((), None, None)
    return TimelineEvent(
        at=at,
        kind=what,
        provider=provider,
        recipients=tuple(recipients),
        detail=detail,
        conversation=conversation,
        rule=rule,
        rewrite=rewrite,
    )


def _read_said(
    conversation: Sequence[str], rule: int | None = NO_ROUTE, changes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], int | None, Rewrite | None]:
    return tuple(conversation), rule, None if changes is None else _rewrite(changes)
