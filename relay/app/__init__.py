"""Running the relay: the process around `relay.app.running`, and the spool of a relay that does not run.

Called by the command line. Signals, the event loop and the order of start and stop are here; nothing else is.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from random import Random

from relay.api.sockets import CannotListen
from relay.app.build import configured, delivery_policy, spool_limits
from relay.app.running import Relay
from relay.config import build
from relay.config.load import ConfigError, Loaded, load
from relay.config.schema import Config
from relay.db.errors import SpoolError
from relay.delivery.dispatcher import Dispatcher
from relay.events import ConfigurationReloaded, nobody
from relay.listener.settings import ListenerError
from relay.observe.log import Log
from relay.ports import Desk, Explain
from relay.spool.sqlite import SqliteSpool

SWITCH_INTERVAL = 0.0005
"""Seconds a thread keeps the interpreter while others want it. At Python's 5 ms the spool's thread, which gives it up
at every step of SQLite, waits for the event loop ten times as long as for the disk."""

COLLECT = (50_000, 20, 100)
"""When cycles are looked for. Mail makes next to none: nearly all it allocates is freed at once."""


class CannotStart(Exception):
    """The relay cannot start as configured. The text is one sentence with cause and fix."""


def run(loaded: Loaded) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises CannotStart."""
    log = configured(loaded.config)
    sys.setswitchinterval(SWITCH_INTERVAL)
    os.umask(0o077)
    _raise_descriptors()
    with asyncio.Runner(loop_factory=_event_loop) as runner:
        return runner.run(_serve(loaded, log))


def _raise_descriptors() -> None:
    """As many open files as the system lets us have: the usual soft limit of 1,024 is a default, not a decision."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # some systems have a lower limit that getrlimit does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _serve(loaded: Loaded, log: Log) -> int:
    stop, hangup = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    relay = Relay(loaded, log, failed=stop.set)
    try:
        await relay.start()
    except (SpoolError, ListenerError, CannotListen) as error:
        raise CannotStart(str(error)) from error
    _announce(relay, log)
    gc.freeze()  # what was imported and built stays for good: the collector need not look at it again
    gc.set_threshold(*COLLECT)
    reloading = asyncio.create_task(_reload_on(hangup, loaded, relay))
    await stop.wait()
    log.info("stopping")
    reloading.cancel()
    await relay.stop()
    log.info("stopped")
    return int(relay.broken)


def _announce(relay: Relay, log: Log) -> None:
    config = relay.config
    smtp = ", ".join(str(listener.listen) for listener in config.listeners)
    http = str(config.http.listen) if config.http else None
    log.info("ready", smtp=smtp, http=http, control=str(config.control_path), spool=str(config.spool.path))
    if relay.capturing:
        log.warning("capture mode: no provider is configured, so mail is kept and shown, and sent nowhere")
        if (example := _example(config)) is not None:
            # Not a line of the log: off a terminal that is JSON, and its escapes could not be pasted.
            sys.stdout.write(f"try: {example}\n")
            sys.stdout.flush()


def _example(config: Config) -> str | None:
    """A command that sends a mail to the first listener that anybody here can use."""
    for listener in config.listeners:
        where = listener.listen
        if where.kind == "tcp" and listener.tls != "implicit" and listener.auth != "required":
            break
    else:
        return None
    if shutil.which("curl"):
        text = r"printf 'Subject: Hello\n\nIt works.\n'"
        return f"{text} | curl -s smtp://{where} --mail-from app@example.com --mail-rcpt you@example.com -T -"
    call = f"s.SMTP('{where.host}', {where.port}).sendmail('app@example.com', 'you@example.com', 'Subject: Hello')"
    return f'{sys.executable} -c "import smtplib as s; {call}"'


async def _reload_on(hangup: asyncio.Event, loaded: Loaded, relay: Relay) -> None:
    while True:
        await hangup.wait()
        hangup.clear()
        try:
            await relay.reload(await asyncio.to_thread(load, loaded.path, os.environ))
        except ConfigError as error:
            relay.observe(ConfigurationReloaded(errors=tuple(map(str, error.problems))))
        except ListenerError as error:
            relay.observe(ConfigurationReloaded(errors=(str(error),)))
        except Exception as error:
            relay.report(error)
            relay.observe(ConfigurationReloaded(errors=("an internal error; its place is in the log",)))


@contextlib.asynccontextmanager
async def offline_desk(config: Config) -> AsyncIterator[tuple[Desk, Explain]]:
    """The queue of a relay that does not run, under the spool's lock. Raises CannotStart."""
    providers = build.providers(config)
    dispatcher = Dispatcher(
        providers,
        build.routes(config),
        delivery_policy(config),
        rng=Random(),  # nosec B311 - jitter and shares, no secret
        observe=nobody,
        capture=not providers,
    )
    try:
        spool = await SqliteSpool.open(config.spool.path, dispatcher.place, spool_limits(config), observe=nobody)
    except SpoolError as error:
        raise CannotStart(str(error)) from error
    try:
        dispatcher.load(await spool.usage(time.time()))
        yield spool, dispatcher
    finally:
        await spool.close()
