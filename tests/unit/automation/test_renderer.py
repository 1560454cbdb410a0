"""Events are rendered in processes: what a template may cost, who waits how long, what a killed process leaves."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from jinja2.defaults import DEFAULT_FILTERS
from sandboxes import ENDLESS, at_work, processes, read, until

from relay.automation.jobs import Job, Rendered, Text
from relay.automation.renderer import Overloaded, Renderer
from relay.automation.sandbox.rendering import Rendering

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at processes by /proc"),
]

FINE = "Hello {{ user.name }}"
DATA: dict[str, Any] = {"user": {"name": "Ann"}, "items": [{"n": 2}, {"n": 1}]}


def _job(source: str = FINE) -> Job:
    return Job(texts=(Text(place=("body",), source=source),))


def _text(rendered: Rendered) -> str:
    return rendered.problem.text if rendered.problem else rendered.values[0]


@contextlib.asynccontextmanager
async def _renderer(**how: Any) -> AsyncIterator[Renderer]:
    renderer = Renderer(**how)
    try:
        yield renderer
    finally:
        await renderer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def renderer() -> AsyncIterator[Renderer]:
    async with _renderer(processes=1, seconds=1.0) as made:
        yield made


async def test_texts_and_conditions_of_an_event(renderer: Renderer) -> None:
    texts = (
        Text(place=("subject",), source=FINE),
        Text(place=("html",), source="<b>{{ '<' }}{{ user.name }}</b>", html=True),
    )
    jobs = [Job(texts=texts), Job(condition="user.name == 'Eve'", texts=texts), _job("{{ user.nme }}"), _job()]
    first, second, third, fourth = await renderer.render(jobs, DATA)
    assert first.values == ("Hello Ann", "<b>&lt;Ann</b>")
    assert second == Rendered(held=False)
    assert third.problem and third.problem.place == ("body",)
    assert third.problem.text == "user.nme is missing from the event's data, did you mean 'name'?"
    assert fourth.values == ("Hello Ann",)
    assert await renderer.render([], DATA) == ()


async def test_the_events_data_comes_as_it_is(renderer: Renderer) -> None:
    data = {"big": 2**200, "float": 0.5, "null": None, "yes": True, "text": "ä€😀\x00\r\n", "deep": {"a": [[[1]]]}}
    (rendered,) = await renderer.render(
        [_job("{{ big }} {{ float }} {{ null }} {{ yes }} {{ text }} {{ deep }}")], data
    )
    assert rendered.values == (f"{2**200} 0.5  True ä€😀\x00\r\n {{'a': [[[1]]]}}",)


def _deep() -> dict[str, Any]:
    data: dict[str, Any] = {}
    for _ in range(100_000):
        data = {"a": data}
    return data


@pytest.mark.parametrize("data", [{"a": object()}, {"a": "\ud800"}, {(1, 2): 3}])
async def test_data_that_is_no_json_is_a_problem(renderer: Renderer, data: dict[Any, Any]) -> None:
    before = processes()
    for job in (_job(), Job(condition="1")):
        (rendered,) = await renderer.render([job], data)
        assert rendered.problem and "the event's data is no JSON" in rendered.problem.text
    assert before in ([], processes())  # nothing was killed for it


async def test_data_that_is_too_deep_is_a_problem(renderer: Renderer) -> None:
    rendered = await renderer.render([_job(), _job()], _deep())
    assert all(one.problem and "nested too deeply" in one.problem.text for one in rendered)


COSTLY = {
    "a power": ("{{ 10**10**10 }}{{ 10**1000000000 }}", "a number becomes too large"),
    "a long text": ("{{ 'x' * 10**12 }}", "needed more than 192 MiB of memory"),
    "a wide number": ("{{ '%1000000000d' % 1 }}", "needed more than 192 MiB of memory"),
    "a wide format": ("{{ '{:>1000000000}'.format(1) }}", "needed more than 192 MiB of memory"),
    "a wide format filter": ("{{ '%1000000000s'|format(1) }}", "needed more than 192 MiB of memory"),
    "much to centre": ("{{ 'x'|center(10**9) }}", "needed more than 192 MiB of memory"),
    "much to indent": ("{{ 'x\\n'|indent(10**9) }}", "needed more than 192 MiB of memory"),
    "much to pad": ("{{ 'x'.zfill(10**9) }}", "needed more than 192 MiB of memory"),
    "bytes": ("{{ (1).to_bytes(10**9, 'big') }}", "needed more than 192 MiB of memory"),
    "lists that double": (
        "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
        ("needed more than 192 MiB of memory", "took longer than 1 s"),  # on a busy machine
    ),
    "texts that double": (
        "{% set n = namespace(x='x') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        ("needed more than 192 MiB of memory", "took longer than 1 s"),  # on a busy machine
    ),
    "numbers that square": (
        "{% set n = namespace(x=9) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
        "took longer than 1 s",
    ),
    "loops in loops": (ENDLESS, "took longer than 1 s"),
    "slices": ("{{ 'x'|slice(10**9)|list|length }}", ("took longer than 1 s", "needed more than 192 MiB of memory")),
    "a macro in itself": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "calls itself without end"),
    "loops that recurse": ("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "calls itself without end"),
    "an endless text": ("{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}", "is more than 1 MiB when rendered"),
    "a long range": ("{{ range(10**9)|sum }}", "a range has more than 100,000 numbers"),
}


@pytest.mark.parametrize(("source", "expected"), COSTLY.values(), ids=COSTLY)
async def test_H3_what_costs_too_much_ends_in_a_problem(renderer: Renderer, source: str, expected: Any) -> None:
    began = time.monotonic()
    costly, fine = await renderer.render([_job(source), _job()], DATA)
    assert costly.problem, costly.values[0][:100]
    assert costly.problem.text.removeprefix("line 1: ").startswith(expected)
    assert fine.values == ("Hello Ann",)
    assert time.monotonic() - began < 5
    assert len(processes()) == 1


async def test_H3_the_relay_grows_by_none_of_it(renderer: Renderer) -> None:
    async def much() -> None:
        for source in ("{{ 'x' * 10**12 }}", "{{ 'x' * 2**20 }}", "{{ 'x' * 2**21 }}"):
            await renderer.render([_job(source)] * 3, DATA)

    await much()
    gc.collect()
    before = _resident()
    for _ in range(3):
        await much()
    gc.collect()
    assert _resident() - before < 16 << 20


def _resident() -> int:
    return int(read(os.getpid(), "statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_H3_all_that_is_made_for_an_event_has_a_bound(renderer: Renderer) -> None:
    job = Job(texts=tuple(Text(place=(n,), source="{{ 'x' * 2**20 }}") for n in range(12)))
    rendered = await renderer.render([job] * 5, {})
    assert [len(one.values) for one in rendered] == [12, 12, 0, 0, 0]
    assert all("more than 32 MiB" in _text(one) for one in rendered[2:])
    assert await renderer.render([_job()], DATA) == [Rendered(values=("Hello Ann",))]


ARGUMENTS = {
    "batch": "2",
    "format": "1",
    "groupby": "'n'",
    "map": "'string'",
    "max": "attribute='n'",
    "min": "attribute='n'",
    "reject": "'none'",
    "rejectattr": "'m'",
    "replace": "'a', 'b'",
    "select": "'none'",
    "selectattr": "'n'",
    "slice": "2",
    "sort": "attribute='n'",
    "sum": "'n'",
    "unique": "attribute='n'",
}

GIVEN = {
    **dict.fromkeys(("abs", "filesizeformat", "float", "int", "round"), "1"),
    **dict.fromkeys(("dictsort", "items", "urlencode", "xmlattr"), "user"),
    **dict.fromkeys(("first", "join", "last", "list", "length", "count", "tojson", "pprint", "reverse"), "items"),
    **dict.fromkeys(set(ARGUMENTS) - {"format", "replace"}, "items"),
    "format": "'%d'",
}

HTML = "'<p>a &amp; www.example.com</p>'"


async def test_every_filter_works_where_no_module_can_be_read(renderer: Renderer) -> None:
    texts = tuple(
        Text(place=(name,), source=f"{{{{ {GIVEN.get(name, HTML)}|{name}({ARGUMENTS.get(name, '')}) }}}}", html=True)
        for name in sorted(set(DEFAULT_FILTERS) - {"random", "attr"})
    )
    jobs = [Job(texts=(text,)) for text in texts]
    here = Rendering()
    rendered = await renderer.render(jobs, DATA)
    for job, there in zip(jobs, rendered, strict=True):
        assert _nameless(there) == _nameless(here.job(job, DATA)), job
    assert [job.texts[0].place[0] for job, one in zip(jobs, rendered, strict=True) if one.problem] == []


def _nameless(rendered: Rendered) -> str:
    """Without the addresses of what is no text."""
    return re.sub(r"0x\w+", "", str(rendered))


async def test_a_process_that_was_killed_while_idle_is_not_noticed(renderer: Renderer) -> None:
    await renderer.render([_job()], DATA)
    (pid,) = processes()
    os.kill(pid, signal.SIGKILL)
    assert _text((await renderer.render([_job()], DATA))[0]) == "Hello Ann"
    assert pid not in processes()


async def test_a_job_whose_process_dies_is_tried_once_more() -> None:
    async with _renderer(processes=1, seconds=30.0, in_all=60.0) as renderer:
        rendering = asyncio.create_task(renderer.render([_job(), _job(ENDLESS), _job()], DATA))
        first = await until(at_work)
        os.kill(first, signal.SIGKILL)
        second = await until(lambda: at_work(first))
        os.kill(second, signal.SIGKILL)
        before, died, after = await rendering
    assert _text(before) == _text(after) == "Hello Ann"
    assert died.problem and died.problem.text == "ended the process that renders it, twice"


async def test_all_jobs_together_have_a_bound() -> None:
    async with _renderer(seconds=0.3, in_all=0.8) as renderer:
        began = time.monotonic()
        rendered = [_text(one) for one in await renderer.render([_job(), *[_job(ENDLESS)] * 20, _job()], DATA)]
    assert rendered[0] == "Hello Ann"
    assert rendered[1].startswith("took longer than 0.3 s")
    assert rendered[-1] == "is not rendered: all actions together took longer than 0.8 s"
    assert time.monotonic() - began < 5


async def test_who_is_not_begun_in_time_is_told() -> None:
    async with _renderer(processes=1, patience=1.5, seconds=30.0, in_all=60.0) as renderer:
        await renderer.render([_job()], DATA)
        holding = asyncio.create_task(renderer.render([_job(ENDLESS)], DATA))
        await until(at_work)
        with pytest.raises(Overloaded, match="other events are being rendered"):
            await renderer.render([_job()], DATA)
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert _text((await renderer.render([_job()], DATA))[0]) == "Hello Ann"


async def test_H3_a_rule_that_takes_its_time_leaves_a_process_to_the_others() -> None:
    async with _renderer(seconds=0.5, in_all=60.0, patience=30.0) as renderer:
        slow = [asyncio.create_task(renderer.render([_job(ENDLESS)] * 60, DATA)) for _ in range(4)]
        await until(at_work)
        for _ in range(5):
            assert _text((await renderer.render([_job()], DATA))[0]) == "Hello Ann"
        assert not any(task.done() for task in slow)
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)
        assert _text((await renderer.render([_job()], DATA))[0]) == "Hello Ann"


async def test_jobs_behind_a_slow_one_are_rendered_all_the_same() -> None:
    slow = _job("{{ 'x' * 10**12 }}")
    async with _renderer(slow=0.0) as renderer:
        for _ in range(2):
            rendered = await renderer.render([_job(), slow, slow, _job(), slow], DATA)
            assert [one.problem is None for one in rendered] == [True, False, False, True, False]
            assert _text(rendered[3]) == "Hello Ann"


async def test_who_is_cancelled_leaves_no_answers_for_the_next() -> None:
    async with _renderer(processes=1, seconds=30.0) as renderer:
        asking = asyncio.create_task(renderer.render([_job("not yours"), _job(ENDLESS)], DATA))
        pid = await until(at_work)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert _text((await renderer.render([_job()], DATA))[0]) == "Hello Ann"
        assert pid not in processes()


async def test_who_is_cancelled_while_a_process_starts_leaves_none() -> None:
    before = processes()
    async with _renderer(processes=1) as renderer:
        for turns in range(6):
            asking = asyncio.create_task(renderer.render([_job()], DATA))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        assert _text((await renderer.render([_job()], DATA))[0]) == "Hello Ann"
    assert processes() == before


async def test_there_are_two_processes_at_most_and_none_when_idle(renderer: Renderer) -> None:
    before = set(processes())
    async with _renderer(idle_seconds=0.2) as own:
        rendered = await asyncio.gather(*(own.render([_job()] * 3, DATA) for _ in range(20)))
        assert all(_text(one) == "Hello Ann" for each in rendered for one in each)
        assert 1 <= len(set(processes()) - before) <= 2
        await until(lambda: set(processes()) == before)
        assert _text((await own.render([_job()], DATA))[0]) == "Hello Ann"


async def test_a_closed_one_starts_nothing() -> None:
    renderer = Renderer(seconds=30.0)
    asking = asyncio.create_task(renderer.render([_job(ENDLESS)], DATA))
    await until(at_work)
    await renderer.close()
    assert (await asking)[0].problem
    with pytest.raises(Overloaded, match="the relay stops"):
        await renderer.render([_job()], DATA)
    await renderer.close()
