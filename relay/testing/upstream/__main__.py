"""`python -m relay.testing.upstream`: a provider that fails as its script says, for tests of any relay.

People and other processes run it. It accepts mail and keeps a record of it; it never sends any on.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from relay.testing.certificates import KINDS, Certificate, NoTrustme, Zoo
from relay.testing.upstream.actions import ACTIONS, PHASES
from relay.testing.upstream.reading import load_script
from relay.testing.upstream.record import MARK, Log, Record
from relay.testing.upstream.script import TLS, Script, ScriptError
from relay.testing.upstream.server import ScriptedUpstream

_EPILOG = f"""\
phases:   {" ".join(PHASES[:10])}
          {" ".join(PHASES[10:])}; also body@4096 and body@50%
actions:  {" ".join(list(ACTIONS)[:12])}
          {" ".join(list(ACTIONS)[12:])};
          or a reply ("450 4.2.0 later"), {{do: slow, seconds: 2}}, {{raw: "25", pause: 0.1}}, {{close: "421 bye"}}

example:  script.yaml
            connections:              # the first connection, the second, …; then all is as usual
              - {{dot: vanish}}
              - {{}}
              - {{later-rcpt: [null, 450 4.2.0 later]}}
            phases: {{mail: [421]}}     # the first MAIL of all
            recipients: {{"*@bad.example": 550 5.1.1 unknown}}
            delay: 200ms              # before each reply to a dot

          python -m relay.testing.upstream --script script.yaml --listen 127.0.0.1:2626 --record record.jsonl
"""


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m relay.testing.upstream",
        description="An SMTP server that fails as its script says and writes down all it took.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--script",
        action="append",
        type=Path,
        metavar="FILE",
        help="YAML; repeat it for the second --listen and so on (the last one serves the rest)",
    )
    parser.add_argument(
        "--listen",
        action="append",
        type=_address,
        metavar="HOST:PORT",
        help="repeat it for more providers; port 0 is a free one (default: 127.0.0.1:0)",
    )
    parser.add_argument("--tls", choices=TLS, help="instead of the script's")
    parser.add_argument("--certificate", choices=list(KINDS), help="instead of the script's (default: good)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="JSON lines, on disk before a dot is answered")
    parser.add_argument("--mark", default=MARK, help="digests begin at the line that begins so (default: %(default)s)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="every byte both ways, with times")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT, as 127.0.0.1:2626 or [::1]:0")
    return host.strip("[]") or "127.0.0.1", int(port)


async def serve(given: argparse.Namespace) -> None:
    """Until SIGTERM or SIGINT. Raises ScriptError, NoTrustme, OSError."""
    scripts = [_changed(load_script(path), given) for path in given.script or ()] or [_changed(Script(), given)]
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="upstream-"))
        certificates = _certificates(scripts, folder)
        for made in certificates.values():
            print(f"certificate {made.kind}: clients trust {made.ca_file}", flush=True)
        record = Record(given.record, given.mark) if given.record else None
        log = Log(given.log) if given.log else None
        for file in (record, log):
            if file is not None:
                stack.callback(file.close)
        for number, (host, port) in enumerate(given.listen or [("127.0.0.1", 0)]):
            script = scripts[min(number, len(scripts) - 1)]
            certificate = certificates.get(script.certificate)
            upstream = ScriptedUpstream(
                script,
                context=certificate.context if certificate and script.tls != "none" else None,
                host=host,
                port=port,
                record=record,
                log=log,
                keep=False,
            )
            await stack.enter_async_context(upstream)
            shown = f"[{host}]" if ":" in host else host
            print(f"listening on {shown}:{upstream.port}", flush=True)
        await _told_to_end()


def _changed(script: Script, given: argparse.Namespace) -> Script:
    return replace(script, tls=given.tls or script.tls, certificate=given.certificate or script.certificate)


def _certificates(scripts: Sequence[Script], folder: str) -> dict[str, Certificate]:
    """Those that are needed."""
    kinds = {script.certificate for script in scripts if script.tls != "none"}
    if unknown := kinds - set(KINDS):
        raise ScriptError([(("certificate",), f"{unknown.pop()!r} is none of: {' '.join(KINDS)}")])
    zoo = Zoo(folder) if kinds else None
    return {kind: zoo.make(kind) for kind in sorted(kinds)} if zoo else {}


async def _told_to_end() -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    given = _options().parse_args(arguments)
    try:
        asyncio.run(serve(given))
    except (ScriptError, NoTrustme, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
