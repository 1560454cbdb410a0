"""What each event says in the log.

`LogObserver` is the Observer that `app` hands to the rooms. It decides words, fields and level; it never formats.
Fields: `message` is the id everywhere; `from` and `to` are envelope addresses; `reply` is what the other side said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from relay import events
from relay.delivery.hints import account_hint
from relay.model import DeliveryOutcome, Fault, Verdict
from relay.observe.logger import Log, configure
from relay.observe.text import moment, place_of

__all__ = ["Log", "LogObserver", "configure"]

SHOWN_RECIPIENTS = 20
"""A line names at most so many recipients, then how many more: 1,000 would be a line of 250 KiB."""

SHOWN_TEXT = 500
"""Characters of a reply; an upstream may send 64 KiB."""


_ACCEPTED, _UNCERTAIN = Verdict.ACCEPTED, Fault.UNCERTAIN  # asking an enum for a member costs a call


def _some(addresses: Sequence[str]) -> Sequence[str]:
    if len(addresses) <= SHOWN_RECIPIENTS:
        return addresses
    return [*addresses[:SHOWN_RECIPIENTS], f"and {len(addresses) - SHOWN_RECIPIENTS} more"]


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_TEXT else text[:SHOWN_TEXT] + "…"


def _word(outcome: DeliveryOutcome) -> str:
    if outcome.verdict is _ACCEPTED:
        return "delivered"
    if outcome.fault is _UNCERTAIN:
        return "uncertain"
    return str(outcome.verdict)


def _word_of_all(outcomes: Sequence[DeliveryOutcome]) -> str:
    """What became of every recipient of an attempt; "" when that is not the same."""
    if len(outcomes) == 1:
        return _word(outcomes[0])
    words = {_word(outcome) for outcome in outcomes}
    return words.pop() if len(words) == 1 else ""


class LogObserver:
    """One line per message accepted and one per attempt; what else is worth knowing at its own level."""

    def __init__(self, log: Log) -> None:
        self._log = log
        handlers: dict[type[Any], tuple[str, Callable[[Any], None]]] = {
            events.MessageAccepted: ("info", self._accepted),
            events.AttemptEnded: ("warning", self._attempt),
            events.CommandRejected: ("info", self._refused),
            events.FailedOver: ("info", self._failed_over),
            events.MessageParked: ("info", self._parked),
            events.MessageEnded: ("debug", self._ended),
            events.NoticeQueued: ("info", self._notice),
            events.NoticeFailed: ("error", self._undeliverable),
            events.EntryCrashed: ("error", self._crashed),
            events.CircuitChanged: ("warning", self._circuit),
            events.ProviderSuspended: ("error", self._suspended),
            events.ProviderRecovered: ("info", self._recovered),
            events.ConnectionOpened: ("debug", self._opened),
            events.ConnectionClosed: ("debug", self._closed),
            events.Committed: ("debug", self._committed),
            events.SpoolFailed: ("error", self._spool_failed),
            events.ConfigurationReloaded: ("error", self._reloaded),
            events.Changed: ("info", self._changed),
            events.LoginFailed: ("warning", self._login_failed),
            events.EventTold: ("warning", self._told),
        }
        # What the level hides costs one failed look-up and no call.
        self._handlers = {kind: handle for kind, (highest, handle) in handlers.items() if log.shows(highest)}

    def __call__(self, event: events.Event) -> None:
        handle = self._handlers.get(type(event))
        if handle is not None:
            handle(event)

    def _accepted(self, event: events.MessageAccepted) -> None:
        source = event.source
        fields: dict[str, Any] = {
            "message": event.message,
            "from": event.sender,
            "to": _some(event.recipients),
            "size": event.size,
            "source": source.kind,
            "client": source.client,
        }
        if source.listener:
            fields["listener"] = source.listener
        if source.user:
            fields["user"] = source.user
        if event.captured:
            fields["captured"] = True
        self._log.write("info", "message accepted", fields)

    def _attempt(self, event: events.AttemptEnded) -> None:
        outcomes = event.outcomes
        word = _word_of_all(outcomes)
        if not word:
            self._mixed(event)
            return
        first = outcomes[0]
        fields: dict[str, Any] = {
            "message": event.message,
            "from": event.sender,
            "to": _some([outcome.recipient.address for outcome in outcomes]),
            "provider": event.provider,
            "reply": _short(str(first.reply)),
        }
        if word != "delivered":
            fields["phase"] = str(first.phase)
        fields["seconds"] = round(event.seconds, 3)
        fields["delay"] = round(event.delay, 3)
        self._log.write("info" if word in ("delivered", "deferred") else "warning", word, fields)

    def _mixed(self, event: events.AttemptEnded) -> None:
        results: dict[str, list[str]] = {}
        for outcome in event.outcomes:
            shown = outcome.recipient.address
            if outcome.verdict is not Verdict.ACCEPTED:
                shown = f"{shown}: {_short(str(outcome.reply))}"
            results.setdefault(_word(outcome), []).append(shown)
        self._log.warning(
            "partly delivered" if "delivered" in results else "not delivered",
            **{
                "message": event.message,
                "from": event.sender,
                "provider": event.provider,
                **{word: _some(shown) for word, shown in results.items()},
                "seconds": round(event.seconds, 3),
                "delay": round(event.delay, 3),
            },
        )

    def _refused(self, event: events.CommandRejected) -> None:
        self._log.info(
            "command refused",
            listener=event.listener,
            client=event.client,
            reason=event.reason,
            reply=_short(str(event.reply)),
        )

    def _failed_over(self, event: events.FailedOver) -> None:
        self._log.info(
            "failed over",
            message=event.message,
            provider=event.target,
            instead_of=event.origin,
            reason=_short(event.reason),
        )

    def _parked(self, event: events.MessageParked) -> None:
        self._log.info("waiting", message=event.message, reason=event.reason, until=moment(event.until))

    def _ended(self, event: events.MessageEnded) -> None:
        self._log.debug("message ended", message=event.message, state=event.state)

    def _notice(self, event: events.NoticeQueued) -> None:
        words = {"bounce": "bounce queued", "delay": "delay warning queued", "relayed": "relayed report queued"}
        self._log.info(words.get(event.kind, "notice queued"), message=event.message, notice=event.notice)

    def _undeliverable(self, event: events.NoticeFailed) -> None:
        words = "a notice could not be delivered, and nobody else is told"
        self._log.error(words, message=event.notice, reply=event.reply)

    def _crashed(self, event: events.EntryCrashed) -> None:
        words = "internal error, message held" if event.held else "internal error, message will be retried"
        self._log.error(words, message=event.message, error=place_of(event.error))

    def _circuit(self, event: events.CircuitChanged) -> None:
        fields: dict[str, Any] = {"provider": event.provider}
        if event.state != "closed":
            fields["until"] = moment(event.until)
        if event.reply is not None:
            fields["reply"] = _short(str(event.reply))
        words, write = {
            "open": ("provider out of reach, not tried for a while", self._log.warning),
            "half_open": ("provider being probed", self._log.info),
        }.get(event.state, ("provider in reach again", self._log.info))
        write(words, **fields)

    def _suspended(self, event: events.ProviderSuspended) -> None:
        self._log.error(
            "provider suspended",
            provider=event.provider,
            reply=_short(str(event.reply)),
            hint=account_hint(event.reply),
            until=moment(event.until),
        )

    def _recovered(self, event: events.ProviderRecovered) -> None:
        self._log.info("provider recovered", provider=event.provider)

    def _opened(self, event: events.ConnectionOpened) -> None:
        self._log.debug("connection opened", listener=event.listener)

    def _closed(self, event: events.ConnectionClosed) -> None:
        self._log.debug("connection closed", listener=event.listener)

    def _committed(self, event: events.Committed) -> None:
        self._log.debug("committed", operations=event.operations, seconds=round(event.seconds, 6))

    def _spool_failed(self, event: events.SpoolFailed) -> None:
        self._log.error("spool failed, nothing is accepted", error=event.error)

    def _reloaded(self, event: events.ConfigurationReloaded) -> None:
        if event.errors:
            self._log.error("configuration refused, the old one stays in force", errors=list(event.errors))
        elif event.restart:
            self._log.warning("configuration reloaded, some of it needs a restart", restart=list(event.restart))
        else:
            self._log.info("configuration reloaded")

    def _changed(self, event: events.Changed) -> None:
        self._log.info(event.what, who=event.who, target=_short(event.target))

    def _login_failed(self, event: events.LoginFailed) -> None:
        given = {"user": _short(event.user)} if event.user else {}
        self._log.warning("login failed" if event.user else "token refused", client=event.client, **given)

    def _told(self, event: events.EventTold) -> None:
        """Whoever wrote a rule looks here for what became of it."""
        fields: dict[str, Any] = {"happening": event.id, "kind": event.kind, "name": _short(event.name)}
        if event.user:
            fields["user"] = event.user
        fields["messages"] = _some(event.messages)
        if not event.failed:
            self._log.info("event told", **fields)
            return
        fields["failed"] = _some([_short(f"{whose}: {why}") for whose, why in event.failed])
        self._log.warning("event told, not all of its mails could be made", **fields)
