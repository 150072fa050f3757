"""How long a step takes: its work divided by what real engines reach.

A part takes (c^q + m^q)^(1/q) with c its multiplications over the rate reached and m its bytes
over the bandwidth reached, which is never less than the larger of the two (Williams et al.,
Roofline, CACM 2009); parts follow one another. Matrices reach their rate only on many rows and
columns. To this come collective operations, the launch of kernels, and work of the scheduler.
The constants are fitted (`_fit`), their spread is what the printed band shows.
"""

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from crossgrade.hosting._hardware import ENGINES
from crossgrade.hosting._work import Array, StepWork

SCHEDULED_TOGETHER = 0.7
"""Power of the sequences in a step with which its scheduling grows: much of it runs beside the GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """What engines reach and lose; shares of a data sheet's peak are at most 1.

    Defaults are where a fit starts and towards which it is drawn: our guesses before any fit. That of
    `rate_prompts` matters most, as few points have long prompts: one public test of Scout on
    prompts of millions of tokens implies 0.41, an earlier fit 0.29.
    `rate_*`: share of peak multiplications; `bandwidth_*`: share of peak bandwidth; `rows_*` and
    `columns_*`: at how many a matrix reaches half its rate; `overlap` is q; `link` a share of the
    link; `round_us`: one collective operation, `network_rounds` times more between machines;
    `kernel_us`: one launch; `step_ms` a step, `sequence_us` one sequence in a step; `apart` the share
    of prompts that are read in steps of their own, `packed` the share of those that are read with as
    many others as a step takes; `first_token`: prompts read before one's own; `amd`: the share of
    their peak that AMD's GPUs reach against NVIDIA's; `vllm`, `sglang`: overheads against TensorRT-LLM's.

    The rest is of the time to the first token (`first_token_seconds`), by engine where its name ends
    in one: `handling_*`, milliseconds before a prompt is read; `own`, times that one's own prompt takes
    as long as reading it; `queued_*`, shares of the other requests whose prompts come first, to the
    power `queued_power`; `between`, the share of a step of decoding between two of them.
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
    sequence_us: float = 17.0
    apart: float = 0.6
    packed: float = 0.5
    first_token: float = 1.0
    amd: float = 0.75
    vllm: float = 1.2
    sglang: float = 1.2
    handling_trtllm: float = 60.0
    handling_vllm: float = 30.0
    handling_sglang: float = 120.0
    own: float = 1.2
    queued_trtllm: float = 0.3
    queued_vllm: float = 0.3
    queued_sglang: float = 0.5
    queued_power: float = 0.7
    between: float = 1.0

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
    packed=1.0,
    first_token=1e-9,
    amd=1.0,
    vllm=1.0,
    sglang=1.0,
    handling_trtllm=1e-9,
    handling_vllm=1e-9,
    handling_sglang=1e-9,
    own=1.0,
    queued_trtllm=1e-9,
    queued_vllm=1e-9,
    queued_sglang=1e-9,
    queued_power=1.0,
    between=1e-9,
)
"""Everything a data sheet promises and nothing lost: the roofline."""


def step_seconds(work: StepWork, constants: Constants) -> Array:
    """Return how long a step takes, shape (n,)."""
    c = constants
    rate = np.array([c.rate_matrices, c.rate_matrices, c.rate_experts, c.rate_reading, c.rate_prompts])
    bandwidth = np.array([c.bandwidth_matrices] * 2 + [c.bandwidth_experts] + [c.bandwidth_reading] * 2)
    half_rows = np.array([c.rows_matrices, c.rows_matrices, c.rows_experts, 0.0, 0.0])[:, None]
    half_columns = np.array([c.columns_matrices, c.columns_matrices, c.columns_experts, 0.0, 0.0])[:, None]
    # Narrow matrices are slow only while their rows are few as well: else there is work for every core.
    ramp = 1 / (1 + half_rows / work.rows * (1 + half_columns / work.columns))
    reached = rate[:, None] * np.where(work.amd, c.amd, 1.0)
    computing = work.flops / (work.peak * reached * np.maximum(ramp, 1e-9))
    moving = work.bytes / (work.bandwidth * bandwidth[:, None])
    longer, shorter = np.maximum(computing, moving), np.minimum(computing, moving)
    ratio = shorter / np.maximum(longer, 1e-300)
    parts = (longer * (1 + ratio**c.overlap) ** (1 / c.overlap)).sum(axis=0)
    overhead = np.array([1.0 if engine == "trtllm" else getattr(c, engine) for engine in ENGINES])[
        work.engine
    ]
    rounds = c.round_us * (work.rounds + work.network_rounds * (1 + c.network_rounds))
    scheduled_us = c.sequence_us * work.sequences**SCHEDULED_TOGETHER
    lost_us = rounds + work.kernels * c.kernel_us + c.step_ms * 1e3 + scheduled_us
    return np.asarray(parts + work.sent / (work.link * c.link) + lost_us * overhead * 1e-6)


def first_token_seconds(
    constants: Constants,
    *,
    engine: NDArray[np.intp],
    in_flight: Array,
    prompt: Array,
    each: Array,
    step: Array,
) -> Array:
    """Return how long a request that has room waits for its first token, shape (n,).

    Requests of a closed loop end and begin in bursts, so that some of the others' prompts come before
    one's own: each takes its share of a packed step (`each`) and a part of a step of decoding (`step`).
    `prompt` is the time that reading one's own takes.
    """
    c = constants
    handling, queued = (
        np.array([getattr(c, f"{name}_{each}") for each in ENGINES])[engine]
        for name in ("handling", "queued")
    )
    before = queued * np.maximum(0.0, in_flight - 1) ** c.queued_power
    return np.asarray(handling * 1e-3 + c.own * prompt + before * (each + c.between * step))


def least_seconds(flops_work: StepWork, bytes_work: StepWork) -> Array:
    """Return the roofline: all multiplications at peak, or all bytes at full bandwidth: the longer."""
    computing = (flops_work.flops / flops_work.peak).sum(axis=0)
    return np.asarray(np.maximum(computing, bytes_work.bytes.sum(axis=0) / bytes_work.bandwidth))
