"""Functions that give the times of samples."""

from __future__ import annotations

from typing import Final

import numpy as np

from tsdb.promql.functions.function import VECTOR, Call, Function
from tsdb.promql.operators.cells import Mapped, unique
from tsdb.promql.operators.step_invariant import sample_times
from tsdb.promql.operators.vector import Cells, Operator


def _timestamp(call: Call) -> Operator:
    """Of a selector the time of the sample, of anything else that of the step."""
    child = call.operators[0]
    if (sampled := sample_times(child)) is not None:
        return sampled
    times = call.env.steps.times() / 1000

    def at_step(tile: Cells) -> Cells:
        return Cells(tile.first_row, np.broadcast_to(times, tile.values.shape).copy(), tile.present)

    return unique(call.env, Mapped(call.env, child, at_step))


FUNCTIONS: Final = (
    Function(name="timestamp", arg_types=(VECTOR,), each_step=True, build=_timestamp,
             doc="When each sample was taken, in seconds since 1970; of what is computed, the evaluation time."),
)
