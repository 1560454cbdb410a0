"""The example configuration, written from the schema: every setting with its default and a short comment.

Called by the test that keeps config.example.yaml from drifting and by `python -m relay.config.example`, which prints
it. What has no default in effect (providers, routes, users) is shown commented out; it reads no configuration.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from relay.config import shape
from relay.config.schema import DEFAULT_LISTENER, Config

_WIDTH = 110
_COLUMN = 46  # where comments begin, unless a value is longer
_HEAD = """\
The relay's configuration. What stands here are the defaults: delete what you do not change.
Check it with `relay check`, put it in force with SIGHUP.
${NAME} in a value comes from the environment, from the file that NAME_FILE names, or from /run/secrets/NAME; $$ is a
dollar. Every setting can also be set as RELAY_ and its path: RELAY_PROVIDERS__0__PASSWORD. Sizes: KiB MiB GiB;
durations: s m h d. Paths are relative to this file."""

# What the commented parts show; a setting that is not here shows its default, or an example behind a second #.
_SAMPLES: Mapping[str, Any] = {
    "hostname": "relay.internal",
    "control": "/run/relay/relay.sock",
    "users": {"name": "crm", "password": "${CRM_PASSWORD}"},  # nosec B105
    "providers": {
        "name": "primary",
        "preset": "gmail",
        "username": "me@example.com",
        "password": "${GMAIL_APP_PASSWORD}",  # nosec B105
        "limits": {"connections": 5, "recipients": 100, "per_minute": 20, "per_day": 500, "count": "recipients"},
    },
    "routes": {
        "match": {"sender": "*@billing.example.com"},
        "providers": ["primary"],
        "rewrite": {"envelope_from": "bounce@example.com"},
    },
    "identities": {"address": "billing@example.com", "name": "Billing"},
    "workflows": {
        "name": "welcome",
        "trigger": {"type": "event", "event": "user.created"},
        "actions": {
            "service": "smtp.send_email",
            "data": {
                "to": "{{ user.email }}",
                "subject": "Welcome to the Shop",
                "body": "Hello {{ user.username }}, your account has been created.",
            },
        },
    },
}

Row = tuple[str, str]  # text, comment


def example() -> str:
    """The whole text of config.example.yaml."""
    parts = [_comment(_HEAD)]
    for name, field in shape.fields(Config).items():
        lines = [_comment(textwrap.fill(field.description or "", _WIDTH - 2)), *_align(_setting(name, field))]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _comment(text: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in text.splitlines())


def _align(rows: Iterator[Row]) -> Iterator[str]:
    for text, comment in rows:
        yield f"{text:<{_COLUMN}} # {comment}" if comment else text


def _setting(name: str, field: FieldInfo) -> Iterator[Row]:
    """One setting of the top level."""
    if name == "listeners":
        yield "listeners:", ""
        yield from _item(field, DEFAULT_LISTENER)
    elif shape.is_list(field.annotation):
        yield f"# {name}:", ""
        yield from _aside(_item(field, _SAMPLES[name]))
    elif shape.is_mapping(field.annotation):
        yield f"# {name}:", ""
        yield "#   invoices:", ""
        yield from _aside(_rows(shape.under(field.annotation, ""), _SAMPLES[name], 4))
    elif model := shape.section(field.annotation):
        yield f"{name}:", ""
        yield from _rows(model, {}, 2)
    else:
        sample = _SAMPLES.get(name)
        yield (f"# {name}: {_flow(sample)}" if sample else f"{name}: {_flow(field.default)}"), ""


def _aside(rows: Iterator[Row]) -> Iterator[Row]:
    return ((f"# {text}", comment) for text, comment in rows)


def _item(field: FieldInfo, sample: Mapping[str, Any]) -> Iterator[Row]:
    """The only entry of a list of sections."""
    (first, comment), *rest = _rows(shape.under(field.annotation, 0), sample, 4)
    yield f"  - {first.lstrip()}", comment
    yield from rest


def _rows(annotation: Any, sample: Mapping[str, Any], indent: int) -> Iterator[Row]:
    """The settings of a section: with the sample's value, else with the default, else behind a #."""
    model = shape.section(annotation)
    for name, field in (shape.fields(model) if model else {}).items():
        yield from _row(name, field, sample.get(name), " " * indent)


def _row(name: str, field: FieldInfo, sample: Any, margin: str) -> Iterator[Row]:
    comment = field.description or ""
    inner = shape.section(field.annotation)
    if inner:
        yield f"{margin}{name}:", comment
        yield from _rows(inner, sample or {}, len(margin) + 2)
    elif shape.is_list(field.annotation) and shape.section(shape.under(field.annotation, 0)):
        yield from _list(name, field, sample, margin)
    elif sample is not None:
        yield f"{margin}{name}: {_flow(sample)}", comment
    elif field.examples and not _default(field):
        yield f"{margin}# {name}: {_flow(field.examples[0])}", comment
    else:
        yield f"{margin}{name}: {_flow(_default(field))}", comment


def _list(name: str, field: FieldInfo, sample: Any, margin: str) -> Iterator[Row]:
    """A list of sections within a section: its example behind a # where the sample has none."""
    aside = "" if sample else "# "
    rows = ((f"{name}:", field.description or ""), *_item(field, sample or (field.examples or [[{}]])[0][0]))
    return ((f"{margin}{aside}{text}", comment) for text, comment in rows)


def _default(field: FieldInfo) -> Any:
    default = field.get_default(call_default_factory=True, validated_data={})
    return None if default is PydanticUndefined else default


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_flow(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow(item)}' for key, item in value.items())}}}"
    if not isinstance(value, str):
        return json.dumps(value)
    plain = re.fullmatch(r"[A-Za-z0-9/$][\w./@$={}+:-]*", value)
    return value if plain else json.dumps(value, ensure_ascii=False)


def settings(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting as `providers[].limits.per_day`, for the reference page and for tests of completeness."""
    for name, field in shape.fields(model).items():
        yield f"{prefix}{name}", field
        for sign, annotation in (("", field.annotation), ("[]", _element(field.annotation))):
            if inner := shape.section(annotation):
                yield from settings(inner, f"{prefix}{name}{sign}.")


def _element(annotation: Any) -> Any:
    if shape.is_list(annotation):
        return shape.under(annotation, 0)
    return shape.under(annotation, "") if shape.is_mapping(annotation) else None


if __name__ == "__main__":
    import sys

    sys.stdout.write(example())
