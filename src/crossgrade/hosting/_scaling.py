"""Dense against sparse: what a token costs as a network is cut into experts, from 1 to 128.

The network of every layer becomes E experts of the same width, of which a token uses one, beside
attention that stays as it is: active weights hold still while total weights grow by E. What is
announced but not released is computed from the announced counts and left unpriced.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from crossgrade.domain import Architecture
from crossgrade.hosting._cycle import Load, serve
from crossgrade.hosting._hardware import PRECISIONS, Deployment
from crossgrade.hosting._memory import smallest_deployment
from crossgrade.hosting._sizes import (
    attention_weights,
    dense_weights,
    expert_coverage,
    expert_weights,
    flops_per_token,
    parameters,
)
from crossgrade.hosting._timing import Constants

EXPERTS = (1, 2, 4, 8, 16, 32, 64, 128)

BATCHES = (1, 16, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingStep:
    """A model with so many experts: its size, and bytes and dollars a token at each batch.

    `weight_bytes_per_token` and `usd_per_mtok_out` go by the number of sequences decoded at once; a
    price, on the smallest deployment that holds the largest batch, is None if there is none.
    """

    experts: int
    total: int
    active: int
    gflops_per_token: float
    gpus: int | None
    weight_bytes_per_token: dict[int, float]
    usd_per_mtok_out: dict[int, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """A model that was announced but whose weights are not available: counts only, no price."""

    name: str
    announced_on: str
    total: float
    active: float
    experts: int
    gflops_per_token: float
    weight_gb_fp8: float
    note: str


def scaling_steps(
    like: Architecture,
    deployment: Deployment,
    load: Load,
    constants: Constants,
    *,
    usd_per_gpu_hour: Decimal,
    experts: Sequence[int] = EXPERTS,
    batches: Sequence[int] = BATCHES,
) -> tuple[ScalingStep, ...]:
    """Return a row for each number of experts, from the dense model to the sparsest."""
    return tuple(
        _step(
            _with_experts(like, count),
            deployment,
            load,
            constants=constants,
            usd_per_gpu_hour=usd_per_gpu_hour,
            batches=batches,
        )
        for count in experts
    )


def _with_experts(like: Architecture, count: int) -> Architecture:
    """Return the model with `count` experts in every layer, as wide as its network for one token."""
    width = like.expert_width * like.top_k if like.experts else like.dense_width
    if count == 1:
        return replace(
            like,
            name=f"{like.name}, dense",
            dense_layers=like.layers,
            dense_width=width + like.shared_width,
            experts=0,
            top_k=0,
            expert_width=0,
            shared_width=0,
            expert_extras=0,
        )
    return replace(
        like,
        name=f"{like.name}, {count} experts",
        dense_layers=0,
        dense_width=0,
        experts=count,
        top_k=1,
        expert_width=width,
        expert_extras=0,
    )


def _step(
    model: Architecture,
    deployment: Deployment,
    load: Load,
    *,
    constants: Constants,
    usd_per_gpu_hour: Decimal,
    batches: Sequence[int],
) -> ScalingStep:
    box = smallest_deployment(model, deployment, load.held_tokens, sequences=max(batches))
    counted = parameters(model)
    prices: dict[int, float | None] = dict.fromkeys(batches)
    if box is not None:
        served = serve(model, box, load, constants, np.array([float(batch) for batch in batches]))
        usd_per_gpu_s = float(usd_per_gpu_hour) / 3600
        prices = {
            batch: float(served.output_gpu_s[at]) * usd_per_gpu_s * 1e6 for at, batch in enumerate(batches)
        }
    return ScalingStep(
        experts=max(1, model.experts),
        total=counted.total,
        active=counted.active,
        gflops_per_token=flops_per_token(model) / 1e9,
        gpus=None if box is None else box.gpus,
        weight_bytes_per_token={batch: _weights_read(model, deployment, batch) / batch for batch in batches},
        usd_per_mtok_out=prices,
    )


def _weights_read(model: Architecture, deployment: Deployment, batch: int) -> float:
    """Bytes of weights that one step over `batch` tokens reads."""
    hit = float(expert_coverage(model, np.array([float(batch)]))[0])
    wide = attention_weights(model) + model.vocabulary * model.hidden
    narrow = dense_weights(model) + model.expert_layers * hit * expert_weights(model)
    return (wide * deployment.attention_bits + narrow * deployment.weight_bits) / 8


def announced_models() -> tuple[Announced, ...]:
    """Return models that are only announced, with what follows from their counts alone."""
    total, active = 2e12, 288e9
    return (
        Announced(
            name="llama-4-behemoth",
            announced_on="2025-04-05",
            total=total,
            active=active,
            experts=16,
            gflops_per_token=2 * active / 1e9,
            weight_gb_fp8=total * PRECISIONS["fp8"] / 8 / 1e9,
            note="about 2T total and 288B active as announced; never released, so there is nothing to price",
        ),
    )
