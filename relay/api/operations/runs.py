"""A workflow run, told to everything that is attached to the workflow: one mail each, all of them and the record of it
in one transaction.

Called by the resource. A mail that cannot be composed keeps no other from being sent.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from relay.api.operations.idempotency import Use
from relay.api.operations.sending import Sending, Taken, busy, no_storage
from relay.api.parts import ApiParts
from relay.api.problem import Refusal
from relay.automation.runs import Run, Told, draft, told
from relay.compose.message import Unfit
from relay.model import Attached, Happening, Labels
from relay.posting import MOST_TOGETHER, Asked, Given, Letter

JSON = dict[str, Any]

_WORTH_A_THREAD = 64 * 1024  # bytes of objects


class Runs:
    def __init__(self, parts: ApiParts, sending: Sending) -> None:
        self._parts = parts
        self._sending = sending

    async def tell(self, run: Run, asked: Asked, use: Use, digest: str) -> Taken:
        """Raises Refusal: 409, 413, 422, 429, 503."""
        post = self._parts.post
        id = post.intake.new_id(self._parts.clock())
        letters: list[Letter] = []
        failed: list[JSON] = []
        try:
            await self._write(id, run, asked, letters, failed)
        except OSError as error:
            await post.discard(letters)
            raise no_storage(error) from None
        except BaseException:  # also when nobody waits any more: files would stay
            await post.discard(letters)
            raise
        outcome = {"id": id, "messages": [letter.id for letter in letters], "failed": failed}
        answer = json.dumps(outcome, separators=(",", ":"))
        happening = Happening(
            id=id, kind="run", name=run.workflow, at=self._parts.clock(), user=asked.user, outcome=answer
        )
        failures = [(f"attachment {item['attachment']}", item["error"]) for item in failed]
        return await self._sending.keep(letters, answer, asked, use, digest, happening, failures)

    async def _write(self, id: str, run: Run, asked: Asked, letters: list[Letter], failed: list[JSON]) -> None:
        attachments = self._parts.integrations.attachments(run.workflow)
        if not attachments:
            return
        large = len(run.run_bytes) + len(run.attestation_bytes) > _WORTH_A_THREAD
        what = await asyncio.to_thread(told, run) if large else told(run)
        labels = Labels(tags=(run.workflow,), metadata={"event": id, "workflow": run.workflow})
        for attached in attachments:
            letter = await self._letter(what, attached, Given(labels=labels), asked)
            if isinstance(letter, str):
                failed.append({"attachment": attached.id, "registration": attached.registration, "error": letter})
            else:
                letters.append(letter)
                self._bound(letters)

    async def _letter(self, what: Told, attached: Attached, given: Given, asked: Asked) -> Letter | str:
        """Or why there is none."""
        registration = self._parts.integrations.registration(attached.registration)
        if registration is None:
            return "its registration was removed"
        if not {"from", "to"} <= registration.options.keys():
            return registration.locked  # what is stored of it is damaged
        made = await self._parts.post.prepare(
            draft(what, registration, attached), given, asked, kind="run", via=registration.provider.name
        )
        if not isinstance(made, Unfit):
            return made
        return f"{made.problem}; see max_message_size" if made.too_large else f"{made.field}: {made.problem}"

    def _bound(self, letters: list[Letter]) -> None:
        """Before more is written, whether there is room for all of it."""
        self._sending.admit(sum([letter.submission.message.size for letter in letters]))
        if sum([letter.held for letter in letters]) > MOST_TOGETHER:
            fix = "send a smaller attestation, or attach fewer registrations to this workflow"
            raise Refusal(413, f"the mails of this run have more than {MOST_TOGETHER} bytes together: {fix}")
        if self._parts.post.crowded:
            raise busy("mails are being made of other runs")
