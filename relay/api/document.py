"""The description of the API as a file: `python -m relay.api.document` writes docs/openapi.json.

A test compares it with what is served. The resources are described without what stands behind them.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from relay import __version__
from relay.api.app import create_app
from relay.api.parts import ApiParts

JSON = dict[str, Any]
PLACE = Path(__file__).parents[2] / "docs" / "openapi.json"


def written(document: JSON) -> str:
    """As the file has it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def described() -> JSON:
    nothing: JSON = {field.name: None for field in fields(ApiParts)}
    found: JSON = create_app(ApiParts(**(nothing | {"version": __version__}))).openapi()
    return found


if __name__ == "__main__":
    PLACE.write_text(written(described()), encoding="utf-8")
