"""All pages of a list.

Used by the commands that show whole lists of what people manage, which are short.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from relay.cli.asking import Relay

_PAGE = 1000


def pages(relay: Relay, target: str, cursor: str) -> list[dict[str, Any]]:
    """Everything at `target`, which may have a query. `cursor`: the field of the last row that the next page goes on
    after.
    """
    found: list[dict[str, Any]] = []
    more = True
    while more:
        after = {"after": found[-1][cursor]} if found else {}
        more_of = "&" if "?" in target else "?"
        page = relay.ask(f"{target}{more_of}{urlencode({'limit': _PAGE, **after})}")
        found += page["data"]
        more = page["has_more"]
    return found
