"""Many scripted upstreams in one thread, for tests that are not asynchronous themselves.

`with Upstreams([{"dot": "vanish"}, Script(connections=[{"mail": "421"}])]) as ups: ups[0].port`. It starts no process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from relay.testing.upstream.script import Phases, Script
from relay.testing.upstream.server import ScriptedUpstream

T = TypeVar("T")
_PATIENCE = 15.0  # seconds


class Upstreams:
    """A sequence of ScriptedUpstreams; `options` are given to each. What they saw may be read from any thread."""

    def __init__(self, scripts: Iterable[Script | Phases | None] = (), **options: Any) -> None:
        self._scripts = list(scripts)
        self._options = options
        self._all: list[ScriptedUpstream] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstreams", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            for script in self._scripts:
                self.add(script)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, script: Script | Phases | None = None, **options: Any) -> ScriptedUpstream:
        """Start one more."""
        upstream = ScriptedUpstream(script, **{**self._options, **options})
        self._run(upstream.start())
        self._all.append(upstream)
        return upstream

    def stop(self, upstream: ScriptedUpstream) -> None:
        """Its port refuses connections from now on, and those it had are cut."""
        self._run(upstream.stop())

    def start(self, upstream: ScriptedUpstream) -> None:
        """Listen again, on the same port."""
        self._run(upstream.start())

    def wait(
        self,
        upstream: ScriptedUpstream,
        reached: Callable[[ScriptedUpstream], bool],
        seconds: float = _PATIENCE,
    ) -> None:
        """Until it is so: `ups.wait(ups[0], lambda up: up.counts.dots == 2)`. Raises TimeoutError."""
        self._run(asyncio.wait_for(upstream.until(reached), seconds), seconds + _PATIENCE)

    def close(self) -> None:
        """Stop all of them, and the thread."""
        for upstream in self._all:
            self._run(upstream.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T], seconds: float = _PATIENCE) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[ScriptedUpstream]:
        return iter(self._all)

    def __getitem__(self, number: int) -> ScriptedUpstream:
        return self._all[number]
