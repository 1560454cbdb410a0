from __future__ import annotations

from relay.config.types import network


def test_networks() -> None:
    assert [str(network(text)) for text in ("10.0.0.0/8", "::1", "192.0.2.7")] == [
        "10.0.0.0/8",
        "::1/128",
        "192.0.2.7/32",
    ]
