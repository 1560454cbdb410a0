"""Durations and sizes as people write them.

Called by the schema, the API and the command line, so it knows none of them. A mistake is a ValueError whose sentence
has `{it}` for the value.
"""

from __future__ import annotations

import re
from typing import Any

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"([0-9]+) *(KiB|MiB|GiB|)")
_BYTES = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def seconds(value: Any) -> float:
    """`30s`, `10m`, `4h`, `5d`, or a number of seconds."""
    match = _DURATION.fullmatch(str(value))
    if not match:
        raise ValueError("must be a duration such as 30s, 10m, 4h or 5d, not {it}")
    return float(match[1]) * _SECONDS[match[2]]


def octets(value: Any) -> int:
    """`64KiB`, `35MiB`, `10GiB`, or a number of bytes."""
    match = _SIZE.fullmatch(str(value))
    if not match:
        raise ValueError("must be a size such as 64KiB, 35MiB or 10GiB, not {it}")
    return int(match[1]) * _BYTES[match[2]]
