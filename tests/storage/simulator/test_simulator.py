"""Whatever happens to the disk: never a wrong answer, nothing acknowledged is lost, and the next start opens."""

from __future__ import annotations

import traceback

import pytest

from tests.storage.simulator.stepped import stepped
from tests.storage.simulator.world import Faults, World, quiet

KINDS = {
    "kill": Faults(sync="os"),
    "power": Faults(cut="power"),
    "either": Faults(cut="either"),
    "power, acknowledged early": Faults(cut="either", sync="os"),
    "errors": Faults(sync="os", crash=0.1, errors=0.3, short=0.1),
    "errors, power": Faults(cut="either", crash=0.1, errors=0.3, short=0.1),
    "full": Faults(cut="either", crash=0.1, full=0.5, short=0.1),
}
SEEDS = 4
OPERATIONS = 35


def run(seed: int, faults: Faults, operations: int = OPERATIONS) -> None:
    """One run; fails with the seed and what was done."""
    with stepped(seed), quiet():
        world = World(seed, faults)
        try:
            world.run(operations)
        except Exception as problem:
            last = "\n  ".join(world.history[-25:])
            raise AssertionError(f"seed {seed}, {faults}: {problem!r}\n{traceback.format_exc()}\n  {last}") from problem


@pytest.mark.parametrize("kind", KINDS)
def test_few_seeds(kind: str) -> None:
    for seed in range(SEEDS):
        run(seed, KINDS[kind])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_many_seeds(kind: str) -> None:
    for seed in range(1000, 2000):
        run(seed, KINDS[kind], operations=60)
