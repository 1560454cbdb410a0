"""The mail about a workflow run: its details and its attestation for people, and the attestation whole as a file.

Called by the API: `told` once for a run, `draft` for each attachment. Pure. The objects have any shape: nothing in them
makes it fail, and nothing in them becomes a header or markup (hazard H1).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from relay.compose.draft import Attachment, Draft
from relay.compose.mailboxes import Mailbox
from relay.model import Attached, Registration

LINES = 200
"""Of an object, in the mail; a file has the rest."""

_MOST_VALUE = 500
_MOST_PATH = 300
_MOST_WORD = 60
_MOST_PRETTY = 16 << 20  # bytes; a large object of many levels would become a hundred times as large
_DEEPEST = 200  # levels that are taken over HTTP
# Whatever ends a line, orders a terminal about or turns text around; and halves of surrogate pairs.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")

# What objects of runs call it, the better first.
_NAMES = ("name", "run_name", "display_name", "title", "id", "run_id", "runId", "uuid", "run_number", "number")
_STATES = ("status", "state", "conclusion", "result", "outcome")


class Run(Struct, frozen=True, kw_only=True):
    """As it was told. `run`, `attestation`: JSON objects, and the bytes in UTF-8 that they were read from."""

    workflow: str
    run: Mapping[str, Any]
    attestation: Mapping[str, Any]
    run_bytes: bytes
    attestation_bytes: bytes


class Told(Struct, frozen=True, kw_only=True):
    """What everybody is told of one run."""

    subject: str
    text: str
    html: str
    files: tuple[Attachment, ...]


class _Section(Struct, frozen=True):
    """`rows`: paths and values. `file`: where the rest is, "" when this is all."""

    title: str
    rows: tuple[tuple[str, str], ...]
    file: str


def told(run: Run) -> Told:
    """Takes its time if the objects are large."""
    details = _section("Run", run.run, "run.json")
    sections = (details, _section("Attestation", run.attestation, "attestation.json"))
    files = [_file("attestation.json", run.attestation_bytes)]
    if details.file:
        files.append(_file(details.file, run.run_bytes))
    workflow = _plain(run.workflow, 2 * _MOST_WORD)
    words = (f"[{workflow}]", "workflow run", _first(run.run, _NAMES), _first(run.run, _STATES))
    return Told(
        subject=" ".join(filter(None, words)).replace("=?", "= ?"),  # RFC 2047: it is no encoded word
        text=f"The workflow {workflow} ran.\n" + "".join(map(_as_text, sections)),
        html=f"<p>The workflow <b>{html.escape(workflow)}</b> ran.</p>\n" + "".join(map(_as_html, sections)),
        files=tuple(files),
    )


def draft(what: Told, registration: Registration, attached: Attached) -> Draft:
    """From and To of the registration, Cc of the attachment."""
    cc = attached.options.get("cc")
    return Draft(
        sender=Mailbox(registration.options["from"]),
        to=(Mailbox(registration.options["to"]),),
        cc=(Mailbox(cc),) if cc else (),
        subject=what.subject,
        text=what.text,
        html=what.html,
        attachments=what.files,
    )


# What it says.


def _first(run: Mapping[str, Any], names: tuple[str, ...]) -> str:
    values = (run.get(name) for name in names)
    words = (_plain(_word(value), _MOST_WORD) for value in values if _is_word(value))
    return next(filter(None, words), "")


def _is_word(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _section(title: str, content: Mapping[str, Any], file: str) -> _Section:
    rows: list[tuple[str, str]] = []
    whole = True
    for path, value in _flat(content):
        if len(rows) == LINES:
            whole = False
            break
        word = _word(value)
        whole = whole and len(word) <= _MOST_VALUE and len(path) <= _MOST_PATH
        rows.append((_plain(path, _MOST_PATH), _plain(word, _MOST_VALUE)))
    return _Section(title, tuple(rows), "" if whole else file)


def _flat(content: Any) -> Iterator[tuple[str, Any]]:
    """Every value that has none inside, with its path, in the order given. However deep: it keeps its own stack."""
    open_ones = [("", _inside(content))]
    while open_ones:
        prefix, pairs = open_ones[-1]
        pair = next(pairs, None)
        if pair is None:
            open_ones.pop()
            continue
        key, value = pair
        path = f"{prefix}{key}"[: _MOST_PATH + 1]
        if isinstance(value, (Mapping, list, tuple)) and value:
            open_ones.append((f"{path}.", _inside(value)))
        else:
            yield path, value


def _inside(value: Any) -> Iterator[tuple[object, Any]]:
    return iter(value.items()) if isinstance(value, Mapping) else iter(enumerate(value))


def _word(value: Any) -> str:
    """As JSON has it, a string without its quotes."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, (list, tuple)):
        return "[]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        return str(value)
    except ValueError:  # more digits than Python writes
        return "a number of very many digits"


def _plain(text: str, most: int) -> str:
    """One line of so many characters at most."""
    line = _UNFIT.sub(" ", text[: most + 1]).strip()
    return f"{line[:most]}…" if len(text) > most else line


# How it looks.


def _as_text(section: _Section) -> str:
    lines = [f"{path}: {value}" for path, value in section.rows] or ["nothing"]
    if section.file:
        lines.append(f"… all of it is in {section.file}")
    return "\n".join(("", section.title, "-" * len(section.title), *lines, ""))


def _as_html(section: _Section) -> str:
    cells = ((html.escape(path), html.escape(value)) for path, value in section.rows)
    rows = "".join([f'<tr><td valign="top"><b>{path}</b></td><td>{value}</td></tr>\n' for path, value in cells])
    table = f"<table>\n{rows}</table>\n" if rows else "<p>nothing</p>\n"
    rest = f"<p>… all of it is in {section.file}</p>\n" if section.file else ""
    return f"<h3>{section.title}</h3>\n{table}{rest}"


def _file(name: str, raw: bytes) -> Attachment:
    return Attachment(filename=name, content=_pretty(raw), content_type="application/json")


def _pretty(raw: bytes) -> bytes:
    """Indented, every value as it was written; as it came if that could become too large."""
    ends = raw.count(b",") + 2 * (raw.count(b"{") + raw.count(b"["))
    if len(raw) + ends * (2 * _DEEPEST + 1) > _MOST_PRETTY:
        return raw
    try:
        return msgspec.json.format(raw, indent=2) + b"\n"
    except (msgspec.DecodeError, RecursionError):
        return raw
