"""From berths to debts: how new mail lies down in the queue. Pure, shared by both spools.

Called when mail is accepted and when a settlement brings notices. It does not choose lanes; the placement does.
"""

from __future__ import annotations

from relay.model import Berth, Message, Owed, State, Submission
from relay.ports import Placement


def debts(submission: Submission, place: Placement) -> list[tuple[Owed, bool]]:
    """What is owed of a new message, and whether it may go to a worker at once."""
    return [(_owed(submission.message, berth), berth.ready) for berth in place(submission)]


def _owed(message: Message, berth: Berth) -> Owed:
    due_at = berth.due_at or message.received_at
    return Owed(
        recipients=berth.recipients,
        lane=berth.lane,
        state=berth.state,
        since=due_at,
        due_at=due_at,
        deadline=berth.deadline or message.expires_at,
        begun=due_at if berth.state is State.SCHEDULED else 0.0,
    )


def crowded_out(messages: int, size: int) -> str:
    """What the record of captured mail says when newer mail took its place."""
    return f"capture keeps the newest {messages} messages or {size >> 20} MiB"
