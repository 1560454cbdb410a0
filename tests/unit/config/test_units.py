from __future__ import annotations

import pytest

from relay.config.units import octets, seconds


@pytest.mark.parametrize(
    ("text", "wanted"), [("30s", 30), ("10m", 600), ("4h", 14400), ("5d", 432000), ("15", 15), (7, 7), ("0.5s", 0.5)]
)
def test_durations(text: object, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "s", "-1s", "1w", "1h30m", "10 minutes", "1e3", "inf", None, True, "٣s", "1s\n"])
def test_no_durations(text: object) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "wanted"), [("1KiB", 1024), ("35MiB", 36700160), ("10 GiB", 10737418240), ("512", 512), (0, 0)]
)
def test_sizes(text: object, wanted: int) -> None:
    assert octets(text) == wanted


@pytest.mark.parametrize("text", ["", "35MB", "35M", "1.5GiB", "-1", "KiB", "1kib", None, "٣KiB"])
def test_no_sizes(text: object) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        octets(text)
