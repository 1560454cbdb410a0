"""structlog without rich, which it loads when it finds it, for tracebacks that the relay never prints: 3 MB.

Imported instead of structlog by `logger`. Whoever wants rich imports it as ever.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import cast

_RICH = "rich"


def _hidden() -> ModuleType | None:
    """None in `sys.modules` makes an import fail as if nothing were installed."""
    found = sys.modules.get(_RICH)
    sys.modules[_RICH] = cast(ModuleType, None)
    return found


def _shown(found: ModuleType | None) -> None:
    del sys.modules[_RICH]
    if found is not None:
        sys.modules[_RICH] = found


_rich = _hidden()
try:
    import structlog
finally:
    _shown(_rich)

__all__ = ["structlog"]
