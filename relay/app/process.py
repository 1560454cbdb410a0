"""Running the relay: the process around `relay.app.running`.

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
from pathlib import Path

from relay.api.serving.sockets import CannotListen
from relay.app.managed import WrongPlan
from relay.app.plan import CannotStart, Plan
from relay.app.running import Relay, configured
from relay.config.listen import listen_address
from relay.db.errors import SpoolError
from relay.events import ConfigurationReloaded
from relay.listener.settings import ListenerError
from relay.observe.log import Log

SWITCH_INTERVAL = 0.0005
"""Seconds a thread keeps the interpreter while others want it. At Python's 5 ms the spool's thread, which gives it up
at every step of SQLite, waits for the event loop ten times as long as for the disk."""

COLLECT = (50_000, 20, 100)
"""When cycles are looked for. Mail makes next to none: nearly all it allocates is freed at once."""

_NOT_READ = "an internal error, its place is in the log; if the relay was upgraded while it ran, restart it"


def run(plan: Plan) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises CannotStart."""
    log = configured(plan)
    sys.setswitchinterval(SWITCH_INTERVAL)
    os.umask(0o077)
    _raise_descriptors()
    with asyncio.Runner(loop_factory=_event_loop) as runner:
        return runner.run(_serve(plan, log))


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


async def _serve(plan: Plan, log: Log) -> int:
    stop, hangup = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    relay = Relay(plan, log, failed=stop.set)
    try:
        await relay.start()
    except (SpoolError, ListenerError, CannotListen) as error:
        raise CannotStart(str(error), 2 if isinstance(error, WrongPlan) else 1) from error
    _announce(relay, log)
    gc.freeze()  # what was imported and built stays for good: the collector need not look at it again
    gc.set_threshold(*COLLECT)
    reloading = asyncio.create_task(_reload_on(hangup, plan.source, relay))
    await stop.wait()
    log.info("stopping")
    reloading.cancel()
    await relay.stop()
    log.info("stopped")
    return int(relay.broken)


def _announce(relay: Relay, log: Log) -> None:
    plan = relay.plan
    smtp = ", ".join(settings.address for settings in plan.listeners)
    http = str(plan.http) if plan.http else None
    log.info("ready", smtp=smtp, http=http, control=str(plan.control), spool=str(plan.spool))
    if relay.capturing:
        log.warning("capture mode: no provider is configured, so mail is kept and shown, and sent nowhere")
        if (example := _example(plan)) is not None:
            # Not a line of the log: off a terminal that is JSON, and its escapes could not be pasted.
            sys.stdout.write(f"try: {example}\n")
            sys.stdout.flush()


def _example(plan: Plan) -> str | None:
    """A command that sends a mail to the first listener that anybody here can use."""
    for settings in plan.listeners:
        where = listen_address(settings.address)
        if where.kind == "tcp" and settings.tls != "implicit" and settings.auth != "required":
            break
    else:
        return None
    if shutil.which("curl"):
        text = r"printf 'Subject: Hello\n\nIt works.\n'"
        return f"{text} | curl -s smtp://{where} --mail-from app@example.com --mail-rcpt you@example.com -T -"
    call = f"s.SMTP('{where.host}', {where.port}).sendmail('app@example.com', 'you@example.com', 'Subject: Hello')"
    return f'{sys.executable} -c "import smtplib as s; {call}"'


async def _reload_on(hangup: asyncio.Event, source: Path | None, relay: Relay) -> None:
    while True:
        await hangup.wait()
        hangup.clear()
        try:
            await _reload(source, relay)
        except Exception as error:
            relay.report(error)
            relay.observe(ConfigurationReloaded(errors=(_NOT_READ,)))


async def _reload(source: Path | None, relay: Relay) -> None:
    read = await asyncio.to_thread(_read, source)  # mail goes on meanwhile
    if isinstance(read, tuple):
        relay.observe(ConfigurationReloaded(errors=read))
        return
    try:
        await relay.reload(read)
    except (ListenerError, SpoolError) as error:
        relay.observe(ConfigurationReloaded(errors=(str(error),)))


def _read(source: Path | None) -> Plan | tuple[str, ...]:
    """The configuration as it is now, or what is wrong with it. What reads it is loaded here, and stays."""
    if source is not None and source.is_fifo():  # now empty, which would be the built-in defaults, or never ends
        return (f"{source} is a pipe, which is read once: restart the relay",)
    from relay.app.build import plan
    from relay.config.load import ConfigError, load

    try:
        return plan(load(source, os.environ))
    except ConfigError as error:
        return tuple(map(str, error.problems))
