"""Hazard F: 17 phases x 24 actions of a failing provider, in clear, STARTTLS and implicit TLS; each ends as stated.

In clear also of one that offers CHUNKING, which changes nothing of it; what is in flight then is in test_F_chunking.py.

All cells of a test happen to one relay at the same time. What must come of each is in fault_table.py.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest
from integration.certificates import Certificate
from matrix.fault_table import ENDING, INTRODUCTION, TRANSACTION, WITHOUT, expected
from matrix.faults import Campaign, Cell, script
from relay_process import Relay

from relay.testing.upstream import ACTIONS, PHASES, Upstreams

GROUPS = {"introduction": INTRODUCTION, "transaction": TRANSACTION, "ending": ENDING}


def test_F_the_table_states_all_408_cells() -> None:
    assert sorted(phase for group in GROUPS.values() for phase in group) == sorted(PHASES)
    assert len(PHASES) * len(ACTIONS) == 408
    for tls, without in WITHOUT.items():
        for phase in set(PHASES) - set(without):
            assert all(expected(phase, action, tls) for action in ACTIONS)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(("tls", "more"), [*((tls, ()) for tls in WITHOUT), ("none", ("CHUNKING",))])
def test_F_every_fault_ends_as_stated(
    relay: Callable[..., Relay],
    upstreams: Callable[..., Upstreams],
    certificate: Certificate,
    tls: str,
    more: tuple[str, ...],
    group: str,
) -> None:
    """Slow: some faults are that the provider is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    every = upstreams([])
    cells = [
        Cell(phase, action, every.add(script(phase, action, tls, more), context=None if tls == "none" else context))
        for phase in GROUPS[group]
        if phase not in WITHOUT[tls]
        for action in ACTIONS
    ]
    wrong = Campaign(relay, every, cells, certificate.ca).run()
    assert not wrong, "\n".join([f"{len(wrong)} of {len(cells)} cells ({tls}) differ:", *wrong])
