"""When a helper process of the proof has to end: it is told so by SIGTERM, or whoever started it is gone.

`load` and `collector` wait for it. They have sessions of their own, so nothing else would end them.
"""

from __future__ import annotations

import asyncio
import os
import signal


async def told_to_end() -> None:
    told, parent = asyncio.Event(), os.getppid()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    while not told.is_set() and os.getppid() == parent:
        try:
            await asyncio.wait_for(told.wait(), 1)
        except TimeoutError:
            continue
