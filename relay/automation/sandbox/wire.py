"""How the relay and the sandbox's process talk: a length of four bytes, then that many bytes.

Used at both ends. A call is JSON, since that is what an event is: its whole numbers have any size. An answer is
msgpack, one for each job, as soon as it is there. It trusts nothing: what does not fit raises.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from relay.automation.jobs import Job, Rendered

MAX_ANSWER = 24 << 20
"""Bytes. The texts of a job are at most 16 MiB together (`rendering`)."""

HEAD = 4
READY = bytes(HEAD)
"""The first thing the process says: an empty frame, once it has shut itself in."""


class Call(Struct, frozen=True, kw_only=True):
    """What is to be rendered for one event. `seconds`: what a job may take; the process ends itself a second later."""

    jobs: tuple[Job, ...]
    data: dict[str, Any]
    seconds: float


class Answer(Struct, frozen=True, kw_only=True):
    """What became of the next job. `spent`: the process is of no more use, and answers nothing after this."""

    rendered: Rendered
    spent: bool = False


_calls = msgspec.json.Decoder(Call)
_answers = msgspec.msgpack.Decoder(Answer)


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(HEAD, "big") + payload


def call(value: Call) -> bytes:
    """A frame. Raises what msgspec raises for data that is no JSON."""
    return framed(msgspec.json.encode(value))


def read_call(payload: bytes) -> Call:
    return _calls.decode(payload)


def answer(value: Answer) -> bytes:
    return framed(msgspec.msgpack.encode(value))


def read_answer(payload: bytes) -> Answer:
    """Raises msgspec.MsgspecError (a ValueError) for what is none."""
    return _answers.decode(payload)
