"""The proof proves itself: a relay that flushes less than it promises must not survive a power cut unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from proof.cuts import worst_moments
from proof.disks import needs_disks
from proof.oracle import Kind
from proof.scene import planted


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("bug", ["no-fsync", "no-directory-fsync", "wal-normal"])
def test_G3_a_relay_that_flushes_too_little_is_caught(tmp_path: Path, bug: str) -> None:
    """Slow: a relay, three cuts of its disk, and a relay on each copy."""
    needs_disks()
    findings = worst_moments(tmp_path, program=planted(bug))
    lost = [finding for finding in findings if finding.verdict and finding.verdict.of(Kind.LOST)]
    assert lost, "\n".join(map(str, findings))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_G3_the_same_moments_are_survived_without_a_bug(tmp_path: Path) -> None:
    """Slow: a relay, three cuts of its disk, and a relay on each copy."""
    needs_disks()
    findings = worst_moments(tmp_path)
    assert all(finding.clean for finding in findings), "\n".join(map(str, findings))
    assert all(finding.saved for finding in findings), "the upstreams were silent: every copy owed something"
