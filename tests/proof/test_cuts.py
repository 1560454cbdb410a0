"""Power cuts, the short form (hazard G3): what was acknowledged before a cut comes out of the disk after it, once.

`make prove` runs the same campaign for longer. A failure names the seed, the round and the cut, and keeps its disk.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from proof.cuts import campaign
from proof.disks import needs_disks

CUTS = 18


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_G3_power_cuts_under_load_lose_forge_and_double_nothing(tmp_path: Path, seed: int) -> None:
    """Slow: each copy of the disk is started again, drained and judged. Three of them, so that workers share them."""
    needs_disks()
    figures = campaign(tmp_path, CUTS, seed)
    assert figures.clean, str(figures)
    assert figures.cuts == CUTS
    assert figures.saved, "no copy owed anything: the cuts proved nothing"
