"""How long a step takes: its work divided by what real engines reach.

A part takes (c^q + m^q)^(1/q) with c its multiplications over the rate reached and m its bytes
over the bandwidth reached, which is never less than the larger of the two (Williams et al.,
Roofline, CACM 2009); parts follow one another. Matrices reach their rate only on many rows and
columns. To this come collective operations, the launch of kernels, and work of the scheduler.
The constants are fitted (`_fit`), their spread is what the printed band shows.
"""

from dataclasses import astuple, dataclass

import numpy as np

from crossgrade.hosting._hardware import ENGINES
from crossgrade.hosting._work import Array, StepWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """What engines reach and lose; shares of a data sheet's peak are at most 1.

    Defaults are where a fit starts and towards which it is drawn: our guesses before any fit. That of
    `rate_prompts` matters most, as few points have long prompts: one public test of Scout on
    prompts of millions of tokens implies 0.41, an earlier fit 0.29.
    `rate_*`: share of peak multiplications; `bandwidth_*`: share of peak bandwidth; `rows_*` and
    `columns_*`: at how many a matrix reaches half its rate; `overlap` is q; `link` a share of the
    link; `round_us`: one collective operation, `network_rounds` times more between machines;
    `kernel_us`: one launch; `step_ms` a step, `sequence_us` a sequence and step; `apart` the share
    of prompts that are read in steps of their own; `first_token`: prompts read before one's own;
    `vllm`, `sglang`: overheads against TensorRT-LLM's.
    """

    rate_matrices: float = 0.6
    rate_experts: float = 0.5
    rate_reading: float = 0.3
    rate_prompts: float = 0.33
    bandwidth_matrices: float = 0.8
    bandwidth_experts: float = 0.75
    bandwidth_reading: float = 0.75
    rows_matrices: float = 20.0
    rows_experts: float = 8.0
    columns_matrices: float = 100.0
    columns_experts: float = 300.0
    overlap: float = 1.5
    link: float = 0.5
    round_us: float = 10.0
    network_rounds: float = 1.0
    kernel_us: float = 2.0
    step_ms: float = 0.5
    sequence_us: float = 5.0
    apart: float = 0.6
    first_token: float = 1.0
    vllm: float = 1.2
    sglang: float = 1.2

    def __post_init__(self) -> None:
        assert all(value > 0 for value in astuple(self)), self


IDEAL = Constants(
    rate_matrices=1.0,
    rate_experts=1.0,
    rate_reading=1.0,
    rate_prompts=1.0,
    bandwidth_matrices=1.0,
    bandwidth_experts=1.0,
    bandwidth_reading=1.0,
    rows_matrices=1e-9,
    rows_experts=1e-9,
    columns_matrices=1e-9,
    columns_experts=1e-9,
    overlap=64.0,
    link=1.0,
    round_us=1e-9,
    network_rounds=1e-9,
    kernel_us=1e-9,
    step_ms=1e-12,
    sequence_us=1e-9,
    apart=1e-9,
    first_token=1e-9,
    vllm=1.0,
    sglang=1.0,
)
"""Everything a data sheet promises and nothing lost: the roofline."""


def step_seconds(work: StepWork, constants: Constants) -> Array:
    """Return how long a step takes, shape (n,)."""
    c = constants
    rate = np.array([c.rate_matrices, c.rate_matrices, c.rate_experts, c.rate_reading, c.rate_prompts])
    bandwidth = np.array([c.bandwidth_matrices] * 2 + [c.bandwidth_experts] + [c.bandwidth_reading] * 2)
    half_rows = np.array([c.rows_matrices, c.rows_matrices, c.rows_experts, 0.0, 0.0])[:, None]
    half_columns = np.array([c.columns_matrices, c.columns_matrices, c.columns_experts, 0.0, 0.0])[:, None]
    ramp = work.rows / (work.rows + half_rows) * work.columns / (work.columns + half_columns)
    computing = work.flops / (work.peak * rate[:, None] * np.maximum(ramp, 1e-9))
    moving = work.bytes / (work.bandwidth * bandwidth[:, None])
    longer, shorter = np.maximum(computing, moving), np.minimum(computing, moving)
    ratio = shorter / np.maximum(longer, 1e-300)
    parts = (longer * (1 + ratio**c.overlap) ** (1 / c.overlap)).sum(axis=0)
    overhead = np.array([1.0 if engine == "trtllm" else getattr(c, engine) for engine in ENGINES])[
        work.engine
    ]
    rounds = c.round_us * (work.rounds + work.network_rounds * (1 + c.network_rounds))
    lost_us = rounds + work.kernels * c.kernel_us + c.step_ms * 1e3 + c.sequence_us * work.sequences
    return np.asarray(parts + work.sent / (work.link * c.link) + lost_us * overhead * 1e-6)


def least_seconds(flops_work: StepWork, bytes_work: StepWork) -> Array:
    """Return the roofline: all multiplications at peak, or all bytes at full bandwidth: the longer."""
    computing = (flops_work.flops / flops_work.peak).sum(axis=0)
    return np.asarray(np.maximum(computing, bytes_work.bytes.sum(axis=0) / bytes_work.bandwidth))
