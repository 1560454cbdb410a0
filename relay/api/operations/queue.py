"""What people can do with the queue, over plain JSON-able data.

Called by the API, and by the command line when no relay runs. It checks what it is given, asks the desk, and shows the
answer; refusals are `Refusal`. It never touches the spool but through its ports.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from relay.api.problem import Refusal
from relay.api.views import acted_json, message_json, page_json, stats_json
from relay.config.units import seconds
from relay.events import Changed, Observer
from relay.model import ENDED, State
from relay.ports import Clock, Desk, Explain, Filter

ACTIONS = ("retry", "hold", "release", "cancel", "reroute")
MAX_PAGE = 1000
MOST = {"id": 64, "from": 512, "to": 512, "provider": 255, "tag": 255, "search": 255, "older": 32}
"""Characters of what a filter may be given; what is longer than an address matches none."""

_TEXTS = tuple(key for key in MOST if key != "older")
_KEYS = frozenset({*MOST, "state", "ended"})
_TOLD = 10

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """`providers`: names of those that exist now."""

    desk: Desk
    explanations: Explain
    providers: Callable[[], Collection[str]]
    observe: Observer
    clock: Clock

    async def list(self, where: Mapping[str, Any], *, limit: int = 100, after: str = "") -> JSON:
        """A page, oldest first. `where`: see `parse_filter`."""
        if not 1 <= limit <= MAX_PAGE:
            raise Refusal(422, f"limit must be 1 to {MAX_PAGE}", [("limit", f"must be 1 to {MAX_PAGE}")])
        if not _clean(after):
            raise Refusal(422, "after must be the id that a page ended with", [("after", "must be an id")])
        now = self.clock()
        page = await self.desk.find(parse_filter(where, now), limit=limit, after=after)
        return page_json(page, self._why, now)

    async def show(self, message: str) -> JSON:
        """One message with its timeline; also of history."""
        view = await self.desk.show(message)
        if view is None:
            raise unknown_message(message)
        return message_json(view, self._why, self.clock(), timeline=True)

    async def act(
        self, action: str, where: Mapping[str, Any], *, who: str, provider: str = "", dry_run: bool = False
    ) -> JSON:
        """Act on all that match; an empty `where` is everything. `who`: for the audit log."""
        self._check(action, provider)
        now = self.clock()
        acted = await self.desk.act(action, parse_filter(where, now), now, provider=provider, dry_run=dry_run)
        if acted.changed and not dry_run:
            self.observe(Changed(who=who, what=f"queue {action}", target=_told(acted.changed)))
        return acted_json(action, acted, dry_run=dry_run)

    async def act_on(self, message: str, action: str, *, who: str, provider: str = "", dry_run: bool = False) -> JSON:
        """Act on one message, which must exist (404) and allow it (409)."""
        result = await self.act(action, {"id": message}, who=who, provider=provider, dry_run=dry_run)
        if result["changed"]:
            return {"id": result["changed"][0], "action": action, "dry_run": dry_run}
        view = await self.desk.show(message)
        if view is None:
            raise unknown_message(message)
        why = next(iter(result["skipped"].values()), f"it is {view.state}")
        raise Refusal(409, f"{action} does not apply to message {message}: {why}")

    async def stats(self) -> JSON:
        return stats_json(await self.desk.stats(), self.clock())

    def explain(self, *, sender: str, recipient: str, size: int = 0, client: str = "") -> Mapping[str, Any]:
        """Where a message from `sender` to `recipient` would go now, and why."""
        given = {"from": sender, "to": recipient, "client": client}
        errors = [(name, "must be one line of printable text") for name, text in given.items() if not _clean(text)]
        errors += [("size", "must not be negative")] if size < 0 else []
        errors += [("client", "must be an IP address, or unix")] if not _is_client(client) else []
        if errors:
            raise Refusal(422, "the question cannot be read", errors)
        now = self.clock()
        return self.explanations.explain(sender=sender, recipient=recipient, size=size, client=client, now=now)

    def _why(self, lane: str) -> str:
        return self.explanations.why(lane, self.clock())

    def _check(self, action: str, provider: str) -> None:
        if action not in ACTIONS:
            raise Refusal(422, f"there is no action {_shown(action)}", [("action", f"one of {', '.join(ACTIONS)}")])
        if action != "reroute" and provider:
            raise Refusal(422, f"{action} takes no provider to go to", [("provider", "only for reroute")])
        if action == "reroute" and provider not in self.providers():
            known = ", ".join(sorted(self.providers())) or "there is none"
            raise Refusal(422, "reroute needs a provider that exists", [("provider", f"one of: {known}")])


def unknown_message(message: str) -> Refusal:
    return Refusal(404, f"there is no message {_shown(message)}, or it was pruned from the history")


def _told(changed: Sequence[str]) -> str:
    """Ids only: what was asked for may be an address, which `log.redact` would have to mask."""
    more = len(changed) - _TOLD
    return " ".join(changed[:_TOLD]) + (f" and {more} more" if more > 0 else "")


def parse_filter(given: Mapping[str, Any], now: float) -> Filter:
    """A filter from `id from to provider state older ended tag search`; `state` one or several, `older` like 10m.

    Ended messages are looked at only when `ended` is true or `state` names an ended one.
    """
    errors = [(key, "is no filter") for key in given if key not in _KEYS]
    states: tuple[State, ...] = ()
    older: float | None = None
    try:
        states = _states(given.get("state") or ())
    except ValueError as error:
        errors.append(("state", str(error)))
    try:
        older = now - seconds(given["older"]) if given.get("older") else None
    except ValueError:
        errors.append(("older", "must be a duration such as 30s, 10m, 2h or 5d"))
    errors += [(key, "must be one line of printable text") for key in _TEXTS if not _clean(given.get(key) or "")]
    errors += [(key, f"may have {most} characters") for key, most in MOST.items() if len(_text(given, key)) > most]
    if errors:
        raise Refusal(422, "the filter cannot be read", errors)
    return Filter(
        id=str(given.get("id") or "").lower(),
        sender=_text(given, "from"),
        recipient=_text(given, "to"),
        provider=_text(given, "provider"),
        states=states,
        older=older,
        ended=bool(given.get("ended")) or not ENDED.isdisjoint(states),
        tag=_text(given, "tag"),
        text=_text(given, "search"),
    )


def _text(given: Mapping[str, Any], key: str) -> str:
    return str(given.get(key) or "")


def _clean(text: object) -> bool:
    """Nothing that matches control characters or lone surrogates is anyone's address or name (hazard H1)."""
    return isinstance(text, str) and text.isprintable()


def _is_client(text: str) -> bool:
    try:
        return text in ("", "unix") or bool(ip_address(text))
    except ValueError:
        return False


def _states(given: Any) -> tuple[State, ...]:
    wanted = (given,) if isinstance(given, str) else tuple(given)
    unknown = [name for name in wanted if name not in set(State)]
    if unknown:
        raise ValueError(f"must be one of {', '.join(State)}")
    return tuple(State(name) for name in wanted)


def _shown(text: str) -> str:
    return ascii(text[:80])
