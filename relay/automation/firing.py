"""What an event sets off: which rules fire, and the mail they make, ready to be handed in.

Called by the API, which hands in what is planned here together with the record of it. One action that fails keeps no
other from firing: what went wrong is a value with its place. It never stores, and renders nothing by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct, field

from relay.automation import drafts
from relay.automation.jobs import Job, Place, Problem, Rendered
from relay.compose.draft import Draft
from relay.compose.mailboxes import Mailbox
from relay.compose.message import Unfit, compose
from relay.model import Action, Labels, MessageId, Workflow
from relay.ports import Workflows
from relay.posting import MOST_TOGETHER, Asked, Given, Letter, Post

MOST = 1000
"""Actions that one event may set off, and so mails that it may cause."""
_LARGEST = 100 << 20  # bytes of all of them, also of those that are so large that they go to files
_AT_ONCE = 100  # actions that the sandbox is asked for in one go
_LONGEST = 500  # characters of what is said of a failure, which may repeat a name from a template
_NOBODY = MessageId("0" * 13)

JSON = dict[str, Any]
Data = Mapping[str, Any]


class Renders(Protocol):
    """The sandbox, as `renderer.Renderer` is: one answer for each job, in order."""

    async def render(self, jobs: Sequence[Job], data: Data) -> Sequence[Rendered]: ...


class TooMuch(Exception):
    """More mail than one event may cause; nothing of it is left. The text is cause and fix."""


class Crowded(Exception):
    """The mail of all events under way is too much at once; nothing of this one is left. Trying again helps."""


class Planned(Struct, frozen=True, kw_only=True):
    """`letters`: to be handed in, all or none. `outcome`: what is answered once they are, JSON-able."""

    letters: tuple[Letter, ...]
    outcome: JSON


class _Step(Struct, frozen=True):
    """One action of a rule that fires."""

    workflow: Workflow
    number: int
    action: Action
    job: Job


class _Report(Struct):
    """What came to nothing, as it is answered."""

    failed: list[JSON] = field(default_factory=list)
    skipped: list[JSON] = field(default_factory=list)

    def fail(self, workflow: Workflow, action: int | None, place: Place, error: str) -> None:
        item = {"workflow": workflow.name, "action": action, "loc": [*place], "error": error[:_LONGEST]}
        self.failed.append(item)

    def skip(self, workflow: Workflow, action: int | None) -> None:
        self.skipped.append({"workflow": workflow.name, "action": action})


class Automation:
    """`renderer`: anything that renders as the sandbox does."""

    def __init__(self, workflows: Workflows, renderer: Renders, post: Post) -> None:
        self._workflows = workflows
        self._renderer = renderer
        self._post = post

    async def event(self, id: str, name: str, data: Data, asked: Asked) -> Planned:
        """Every rule that waits for an event of this name. Raises as `run`."""
        return await self._plan(id, {"event": name}, self._workflows.listening(name), data, asked)

    async def run(self, id: str, workflow: Workflow, data: Data, asked: Asked) -> Planned:
        """One rule, whatever it waits for. Raises TooMuch, Crowded, OSError when a large mail cannot be written, and
        the renderer's Overloaded; nothing of any mail is left then.
        """
        return await self._plan(id, {"workflow": workflow.name}, (workflow,), data, asked)

    async def preview(self, workflow: Workflow, data: Data) -> JSON:
        """What `run` would mail, JSON-able; nothing is. Raises the renderer's Overloaded."""
        report = _Report()
        mails = []
        for steps in _batches(await self._firing((workflow,), data, report)):
            for step, draft in await self._drafts(steps, data, report):
                unfit = await asyncio.to_thread(self._unfit, draft)  # all of it is encoded to know
                if unfit:
                    _unfitting(step, draft, unfit, report)
                else:
                    mails.append(_shown(step.number, draft))
        return {"mails": mails, "failed": report.failed, "skipped": report.skipped}

    def _unfit(self, draft: Draft) -> Unfit | None:
        found = compose(draft, self._post.house(), id=_NOBODY, client="unix", now=self._post.clock())
        return found if isinstance(found, Unfit) else None

    async def _plan(
        self, id: str, of: Mapping[str, str], workflows: Sequence[Workflow], data: Data, asked: Asked
    ) -> Planned:
        report = _Report()
        made = _Made(self._post)
        firing = await self._firing(workflows, data, report)
        try:
            for steps in _batches(firing):
                for step, draft in await self._drafts(steps, data, report):
                    letter = await self._prepare(id, of, step, draft, asked)
                    if isinstance(letter, Unfit):
                        _unfitting(step, draft, letter, report)
                    else:
                        made.add(step.workflow, letter)
        except BaseException:  # also when nobody waits any more: files would stay
            await self._post.discard(made.all)
            raise
        outcome = {"id": id, **of, **_caused(firing, made.letters), "failed": report.failed, "skipped": report.skipped}
        return Planned(letters=made.all, outcome=outcome)

    async def _prepare(self, id: str, of: Mapping[str, str], step: _Step, draft: Draft, asked: Asked) -> Letter | Unfit:
        labels = Labels(tags=tuple(of.values()), metadata={"event": id, "workflow": step.workflow.name})
        return await self._post.prepare(draft, Given(labels=labels), asked, kind="event")

    async def _firing(self, workflows: Sequence[Workflow], data: Data, report: _Report) -> Sequence[_Step]:
        """The actions of all rules that can be used and whose condition holds."""
        asking = [workflow for workflow in workflows if workflow.condition and not workflow.damaged]
        jobs = [Job(condition=workflow.condition) for workflow in asking]
        answers = await self._renderer.render(jobs, data) if jobs else ()
        found = {workflow.name: answer for workflow, answer in zip(asking, answers, strict=True)}
        firing = [one for one in workflows if _fires(one, found.get(one.name, Rendered()), report)]
        steps = [(workflow, number, action) for workflow in firing for number, action in enumerate(workflow.actions)]
        if len(steps) > MOST:
            raise TooMuch(f"it would set off {len(steps)} actions, {MOST} at most; give rules a condition")
        return [_Step(workflow, number, action, drafts.job(action, number)) for workflow, number, action in steps]

    async def _drafts(self, steps: Sequence[_Step], data: Data, report: _Report) -> Sequence[tuple[_Step, Draft]]:
        answers = await self._renderer.render([step.job for step in steps], data)
        judged = [(step, _judged(step, answer, report)) for step, answer in zip(steps, answers, strict=True)]
        return [(step, draft) for step, draft in judged if draft is not None]


def _fires(workflow: Workflow, condition: Rendered, report: _Report) -> bool:
    if workflow.damaged:
        report.fail(workflow, None, (), workflow.damaged)
    elif condition.problem:
        report.fail(workflow, None, condition.problem.place, condition.problem.text)
    elif not condition.held:
        report.skip(workflow, None)
    else:
        return True
    return False


def _judged(step: _Step, answer: Rendered, report: _Report) -> Draft | None:
    if answer.problem is None and not answer.held:
        report.skip(step.workflow, step.number)
        return None
    found = answer.problem or drafts.draft(step.action, step.number, step.job, answer.values)
    if isinstance(found, Problem):
        of_all = found.place in ((), ("if",))  # not of one of its texts
        place = ("actions", step.number, *found.place) if of_all else found.place
        report.fail(step.workflow, step.number, place, found.text)
        return None
    return found


def _unfitting(step: _Step, draft: Draft, unfit: Unfit, report: _Report) -> None:
    place = drafts.place(draft, unfit.field, step.number)
    problem = f"{unfit.problem}; see max_message_size" if unfit.too_large else unfit.problem
    report.fail(step.workflow, step.number, place, problem)


def _batches(steps: Sequence[_Step]) -> Sequence[Sequence[_Step]]:
    """What is rendered becomes letters, of which the large ones go to files, before more is."""
    return [steps[start : start + _AT_ONCE] for start in range(0, len(steps), _AT_ONCE)]


class _Made:
    """The mail of one event, so far."""

    def __init__(self, post: Post) -> None:
        self.letters: list[tuple[Workflow, Letter]] = []
        self._post = post
        self._size = self._held = 0

    @property
    def all(self) -> tuple[Letter, ...]:
        return tuple([letter for _, letter in self.letters])

    def add(self, workflow: Workflow, letter: Letter) -> None:
        """Raises TooMuch, Crowded; then, too, it is among them."""
        self.letters.append((workflow, letter))
        self._size += letter.submission.message.size
        self._held += letter.held
        if self._size > _LARGEST or self._held > MOST_TOGETHER:
            most = MOST_TOGETHER if self._held > MOST_TOGETHER else _LARGEST
            raise TooMuch(f"its mails would have more than {most} bytes together; make them smaller, or fewer")
        if self._post.crowded:
            raise Crowded


def _caused(firing: Sequence[_Step], letters: Sequence[tuple[Workflow, Letter]]) -> JSON:
    """Of each rule that fired what it made, also when that is nothing."""
    fired: dict[str, JSON] = {}
    for step in firing:
        workflow = step.workflow
        fired[workflow.name] = {"workflow": workflow.name, "version": workflow.version, "messages": []}
    for workflow, letter in letters:
        fired[workflow.name]["messages"].append(letter.id)
    return {"fired": [*fired.values()], "messages": [letter.id for _, letter in letters]}


def _shown(number: int, draft: Draft) -> JSON:
    """A mail for people to look at; who it is from only where the rule says so."""
    return {
        "action": number,
        "from": _named(draft.sender) if draft.sender else None,
        "identity": draft.identity or None,
        "to": [*map(_named, draft.to)],
        "cc": [*map(_named, draft.cc)],
        "bcc": [*map(_named, draft.bcc)],
        "reply_to": [*map(_named, draft.reply_to)],
        "subject": draft.subject,
        "text": draft.text,
        "html": draft.html,
        "attachments": [
            {"filename": one.filename, "content_type": one.content_type, "size": len(one.content)}
            for one in draft.attachments
        ],
    }


def _named(mailbox: Mailbox) -> str:
    return f"{mailbox.name} <{mailbox.address}>" if mailbox.name else mailbox.address
