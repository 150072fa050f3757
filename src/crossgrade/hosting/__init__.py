"""What serving a model on GPUs of one's own costs: sizes, memory, throughput, latency, price, error band."""

from crossgrade.hosting._band import Spread, traits_of
from crossgrade.hosting._calibrate import (
    ENOUGH_FOR_A_BAND,
    GROUPINGS,
    fit_serving,
    refit_serving,
)
from crossgrade.hosting._config_json import read_architecture
from crossgrade.hosting._context import (
    ContextCost,
    attention_overtakes,
    attention_temperature,
    context_costs,
)
from crossgrade.hosting._cycle import (
    Load,
    Served,
    cheapest_deployment,
    most_in_flight,
    prompt_seconds,
    require_fit,
    serve,
)
from crossgrade.hosting._fit import fit_constants, predict_points
from crossgrade.hosting._hardware import ENGINES, PRECISIONS, Deployment, Gpu, GpuPrice, default_precision
from crossgrade.hosting._llama4_json import read_llama4_shape
from crossgrade.hosting._measured import MeasuredLevel, TimedCall, measured_level
from crossgrade.hosting._memory import MemoryFit, memory_fit, smallest_deployment
from crossgrade.hosting._packaged import (
    known_gpu,
    known_gpus,
    known_model,
    known_models,
    shipped_fit,
    shipped_measurements,
)
from crossgrade.hosting._points import MeasuredPoint, read_measurements
from crossgrade.hosting._price import (
    BAND_LEVEL,
    PromptCost,
    ServedAt,
    box_usd_per_day,
    break_even_tokens_per_day,
    hosting_ladder,
    prompt_costs,
)
from crossgrade.hosting._scaling import (
    BATCHES,
    EXPERTS,
    Announced,
    ScalingStep,
    announced_models,
    scaling_steps,
)
from crossgrade.hosting._sizes import (
    Parameters,
    expert_coverage,
    flops_per_token,
    kv_bytes_per_token,
    kv_values,
    parameters,
)
from crossgrade.hosting._timing import IDEAL, Constants
from crossgrade.hosting._validate import (
    ENOUGH_FOR_A_GROUP,
    CrossValidation,
    GroupError,
    HeldOutGroup,
    ServingFit,
    cross_validate,
    hold_out,
)

__all__ = [
    "BAND_LEVEL",
    "BATCHES",
    "ENGINES",
    "ENOUGH_FOR_A_BAND",
    "ENOUGH_FOR_A_GROUP",
    "EXPERTS",
    "GROUPINGS",
    "IDEAL",
    "PRECISIONS",
    "Announced",
    "Constants",
    "ContextCost",
    "CrossValidation",
    "Deployment",
    "Gpu",
    "GpuPrice",
    "GroupError",
    "HeldOutGroup",
    "Load",
    "MeasuredLevel",
    "MeasuredPoint",
    "MemoryFit",
    "Parameters",
    "PromptCost",
    "ScalingStep",
    "Served",
    "ServedAt",
    "ServingFit",
    "Spread",
    "TimedCall",
    "announced_models",
    "attention_overtakes",
    "attention_temperature",
    "box_usd_per_day",
    "break_even_tokens_per_day",
    "cheapest_deployment",
    "context_costs",
    "cross_validate",
    "default_precision",
    "expert_coverage",
    "fit_constants",
    "fit_serving",
    "flops_per_token",
    "hold_out",
    "hosting_ladder",
    "known_gpu",
    "known_gpus",
    "known_model",
    "known_models",
    "kv_bytes_per_token",
    "kv_values",
    "measured_level",
    "memory_fit",
    "most_in_flight",
    "parameters",
    "predict_points",
    "prompt_costs",
    "prompt_seconds",
    "read_architecture",
    "read_llama4_shape",
    "read_measurements",
    "refit_serving",
    "require_fit",
    "scaling_steps",
    "serve",
    "shipped_fit",
    "shipped_measurements",
    "smallest_deployment",
    "traits_of",
]
