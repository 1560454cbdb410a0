"""The process itself: shuts itself in, then answers calls until its standard input ends, as it does with the relay.

Started by `automation.process`. It says nothing but answers, and keeps nothing of an event after it.
"""

# ruff: noqa: F401  (imported for the engine, which would do so when a filter is first used; then nothing can be read)

from __future__ import annotations

import difflib
import encodings.ascii
import encodings.latin_1
import encodings.unicode_escape
import html
import pprint
import sys
import textwrap

import jinja2.debug

from relay.automation.sandbox import wire
from relay.automation.sandbox.limits import alarm, shut_in
from relay.automation.sandbox.rendering import Rendering


def serve() -> None:
    """Until there is no more to read."""
    given, said = sys.stdin.buffer, sys.stdout.buffer
    rendering = Rendering()
    shut_in()
    said.write(wire.READY)
    said.flush()
    while len(head := given.read(wire.HEAD)) == wire.HEAD:
        call = wire.read_call(given.read(int.from_bytes(head, "big")))
        for job in call.jobs:
            alarm(call.seconds + 1)
            rendered = rendering.job(job, call.data)
            said.write(wire.answer(wire.Answer(rendered=rendered, spent=rendering.spent)))
            said.flush()
            if rendering.spent:
                return
        alarm(0)
        del call  # an event is not kept while nothing is asked


if __name__ == "__main__":
    serve()
