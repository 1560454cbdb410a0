"""Contexts for TLS to providers: built once for each trust anchor, whoever asks how often."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import trustme

from relay.model import Provider, Tls
from relay.upstream.tls import context_for


def trusting(ca_file: Path, tls: Tls = Tls.STARTTLS) -> Provider:
    return Provider(name="p", host="localhost", port=587, tls=tls, ca_file=str(ca_file))


async def test_all_that_connect_at_once_share_one_context(tmp_path: Path) -> None:
    """Building one takes 20 ms: fifty providers at a start must not wait a second of processor time for it."""
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    contexts = await asyncio.gather(*(context_for(trusting(file)) for _ in range(50)))
    assert len(set(map(id, contexts))) == 1


async def test_a_changed_anchor_and_a_lesser_promise_have_contexts_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    first = await context_for(trusting(file))
    assert await context_for(trusting(file, Tls.OPPORTUNISTIC)) is not first
    trustme.CA().cert_pem.write_to_path(str(file))
    os.utime(file, ns=(1, 1))
    assert await context_for(trusting(file)) is not first
