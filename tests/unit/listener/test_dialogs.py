"""Runs tests/dialogs/*.txt: SMTP conversations as data.

A line `C: text` is sent with CRLF, consecutive ones in one write; `S: pattern` is one line that must come, a shell
glob. `! name: value` changes a setting of the listener. `#` is a comment, an empty line nothing. At the end of the file
`= N` says how many messages were accepted; without it none may have been.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "dialogs"
DIALOGS = sorted(FOLDER.glob("*.txt"))
USERS = {"crm": "open sesame"}


@dataclass
class Dialog:
    steps: list[tuple[bytes, list[str]]] = field(default_factory=list)
    settings: dict[str, object] = field(default_factory=dict)
    accepted: int = 0


def parse(text: str) -> Dialog:
    dialog = Dialog(steps=[(b"", [])])
    for line in text.splitlines():
        kind, _, value = line.partition(" ")
        if kind == "C:":
            if dialog.steps[-1][1]:
                dialog.steps.append((b"", []))
            sent, expected = dialog.steps[-1]
            dialog.steps[-1] = (sent + value.encode() + b"\r\n", expected)
        elif kind == "S:":
            dialog.steps[-1][1].append(value)
        elif kind == "!":
            name, _, setting = value.partition(": ")
            dialog.settings[name] = int(setting) if setting.isdigit() else setting
        elif kind == "=":
            dialog.accepted = int(value)
        elif line and not line.startswith("#"):
            raise ValueError(f"not a dialog line: {line}")
    return dialog


async def run(serve, dialog: Dialog, size: int) -> None:
    rig = await serve(users=USERS, **dialog.settings)
    client = await rig.connect()
    for sent, expected in dialog.steps:
        for at in range(0, len(sent), size):
            client.send(sent[at : at + size])
            if size < 100:
                await asyncio.sleep(0)
        for pattern in expected:
            line = (await asyncio.wait_for(client.reader.readline(), 10)).decode().removesuffix("\r\n")
            assert fnmatchcase(line, pattern), f"expected {pattern!r}, got {line!r} after {sent!r}"
    assert len(rig.intake.submissions) == dialog.accepted
    client.writer.write_eof()
    assert await client.rest() == b""


def test_there_are_dialogs():
    assert len(DIALOGS) >= 5


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
async def test_dialog(serve, path):
    await run(serve, parse(path.read_text()), size=1 << 20)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 17])
@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
async def test_A7_in_small_writes(serve, path, size):
    await run(serve, parse(path.read_text()), size=size)
