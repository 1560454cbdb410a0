"""The record: what it says, and that nothing is answered before it is on disk."""

from __future__ import annotations

import ast
import asyncio
import base64
import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from talking import LETTER, REPLIES, SPEECH, before, talk

from relay.testing.upstream import Log, Record, Script, ScriptedUpstream

OFFERED: dict[str, Any] = {"offers": (), "auth": ("PLAIN",)}


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_one_line_for_each_transaction_that_reached_its_dot(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    record = Record(path)
    script = Script({"dot": [None, "5xx", "vanish"], "mail": [None, None, None, "4xx"]}, **OFFERED)
    async with ScriptedUpstream(script, record=record) as upstream:
        for _ in range(4):
            await talk(upstream)
    record.close()
    first, refused, vanished = entries(path)
    content = LETTER.replace(b"..hi", b".hi")
    assert first.pop("at") > 1.7e9
    assert first == {
        "port": upstream.port,
        "connection": 1,
        "mail": "MAIL FROM:<a@b> SIZE=33",
        "rcpt": ["RCPT TO:<c@d>", "RCPT TO:<e@d>"],
        "size": 32,
        "sha256": hashlib.sha256(content[content.index(b"X-Ledger:") :]).hexdigest(),
        "content": base64.b64encode(content).decode(),
        "answered": "250 2.0.0 ok: queued",
    }
    assert refused["answered"] == "554 5.6.0 scripted: not this message"
    assert vanished["answered"] is None


async def test_large_content_is_a_digest_only_and_no_command_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    record = Record(path, mark="X-Other:")
    large = b"X: y\r\n" * 1000
    speech = b"MAIL FROM:<\xff@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<no@d>\r\nDATA\r\n" + large + b".\r\nQUIT\r\n"
    async with ScriptedUpstream(Script(recipients={"no@*": "550 5.1.1 no"}), record=record, keep=False) as upstream:
        await talk(upstream, speech)
        assert (upstream.received, upstream.secrets, upstream.commands) == ([], [], [b"QUIT"])
    record.close()
    [line] = entries(path)
    assert line["mail"].encode("utf-8", "surrogateescape") == b"MAIL FROM:<\xff@b>"
    assert (line["rcpt"], line["size"], line["content"]) == (["RCPT TO:<c@d>"], 6000, None)
    assert line["sha256"] == hashlib.sha256(large).hexdigest()


class Gated(Record):
    """Writes when the gate is open, and counts how often."""

    writes = 0

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gate = threading.Event()

    def _write(self, lines: bytes) -> None:
        self.writes += 1
        assert self.gate.wait(10)
        super()._write(lines)


async def test_no_dot_is_answered_before_the_record_and_many_share_one_fsync(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    record = Gated(path)
    async with ScriptedUpstream(Script(**OFFERED), record=record) as upstream:
        talks = [asyncio.ensure_future(talk(upstream)) for _ in range(20)]
        await upstream.until(lambda seen: seen.counts.phases["dot"] == 20)
        assert await talk(upstream, least=len(before("dot"))) == (before("dot"), "open")
        assert path.read_bytes() == b"" and upstream.received == []
        record.gate.set()
        everything = before("quit") + REPLIES["quit"]
        assert await asyncio.gather(*talks) == [(everything, "fin")] * 20
        await upstream.until(lambda seen: seen.counts.dots == 21)
    record.close()
    assert len(entries(path)) == 21
    assert record.writes <= 3


async def test_what_cannot_be_made_safe_is_not_answered(tmp_path: Path) -> None:
    """A full disk; and a pipe, which takes the line but knows no fsync."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    for path in (Path("/dev/full"), tmp_path / "pipe"):
        record = Record(path)
        async with ScriptedUpstream(Script(**OFFERED), record=record) as upstream:
            heard, end = await talk(upstream)
            assert heard == before("dot") and end in ("fin", "rst")
            assert upstream.received == []
        record.close()
    assert json.loads(os.read(reader, 4096))["answered"] == "250 2.0.0 ok: queued"
    os.close(reader)


async def test_the_log_has_every_byte_both_ways(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    async with ScriptedUpstream(Script(**OFFERED), log=log) as upstream:
        await talk(upstream)
        await upstream.until_closed()
    log.close()
    lines = [line.split(" ", 3) for line in (tmp_path / "log").read_text().splitlines()]
    assert {line[1] for line in lines} == {f"{upstream.port}/1"}
    assert (lines[0][3], lines[-1][3]) == ("b'connected'", "b'closed'")
    both = {way: b"".join(ast.literal_eval(line[3]) for line in lines if line[2] == way) for way in "<>"}
    assert both == {"<": SPEECH, ">": before("quit") + REPLIES["quit"]}


async def test_a_delay_is_before_the_reply_and_after_the_record(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    record = Record(path)
    async with ScriptedUpstream(Script(delay=30.0, **OFFERED), record=record) as upstream:
        assert await talk(upstream, least=len(before("dot"))) == (before("dot"), "open")
        await upstream.until(lambda seen: seen.counts.dots == 1)
        assert len(entries(path)) == 1
        await upstream.until_closed()
    record.close()
