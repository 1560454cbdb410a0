"""A scripted SMTP upstream: seventeen phases, twenty-four ways to fail at each, a record of all it took.

Tests use ScriptedUpstream in their event loop or Upstreams in a thread; `python -m relay.testing.upstream` is the same
as a program. It never sends mail anywhere.
"""

from relay.testing.upstream.actions import ACTIONS, PHASES, Action, Close, Do, Raw, Say, Stall
from relay.testing.upstream.reading import load_script, read_script
from relay.testing.upstream.received import Counts, Received
from relay.testing.upstream.record import MARK, Log, Record
from relay.testing.upstream.script import OFFERS, Phases, Script, ScriptError
from relay.testing.upstream.server import ScriptedUpstream
from relay.testing.upstream.threads import Upstreams

__all__ = [
    "ACTIONS",
    "MARK",
    "OFFERS",
    "PHASES",
    "Action",
    "Close",
    "Counts",
    "Do",
    "Log",
    "Phases",
    "Raw",
    "Received",
    "Record",
    "Say",
    "Script",
    "ScriptError",
    "ScriptedUpstream",
    "Stall",
    "Upstreams",
    "load_script",
    "read_script",
]
