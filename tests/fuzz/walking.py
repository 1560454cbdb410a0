"""How the state machines of this folder are run: the same walks each time, however long they take.

Used by `test_machine_*`. It knows nothing of the relay.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def walk(machine: type[RuleBasedStateMachine], *, walks: int, steps: int) -> None:
    """So many walks of at most so many steps; fails with the shortest that breaks an invariant."""
    chosen = settings(
        max_examples=walks,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=chosen)
