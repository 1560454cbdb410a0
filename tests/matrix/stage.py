"""An event loop beside the test: scripted upstreams live in it while the test drives a relay process.

Used by the fault tests of this folder. It knows nothing of SMTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

T = TypeVar("T")


class Stage:
    """`enter` starts something that lives until the end of the stage; `run` runs a coroutine in its loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._living = contextlib.AsyncExitStack()

    def run(self, work: Coroutine[Any, Any, T], seconds: float = 30) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def enter(self, living: AbstractAsyncContextManager[T]) -> T:
        return self.run(self._living.enter_async_context(living))

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self.run(self._living.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    made = Stage()
    made.open()
    try:
        yield made
    finally:
        made.close()
