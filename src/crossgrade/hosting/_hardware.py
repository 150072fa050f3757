"""GPUs, and how a model is distributed over them."""

from dataclasses import dataclass
from decimal import Decimal

from crossgrade.domain import Architecture
from crossgrade.errors import UsageError

PRECISIONS = {"bf16": 16.0, "fp8": 8.0, "int8": 8.0, "fp4": 4.5, "mxfp4": 4.25, "int4": 4.25}
"""Bits a weight, scales of its block included: 8 bits for 16 weights (NVFP4), for 32 (MXFP4)."""

SERVED_PRECISION = "fp8"
"""The width in which models are mostly served whose weights are published in 16 bits."""

NETWORK_BYTES_S = 50e9
"""One 400 Gbit/s port a GPU between machines, as DGX and HGX boxes have it."""

ENGINES = ("trtllm", "vllm", "sglang")
"""Engines whose overhead a step was measured."""

_KEEPS_ATTENTION_WIDE = {"mxfp4", "int4"}


def default_precision(model: Architecture) -> str:
    """Return the width of the weights as published, or 8 bits for weights that are published wider."""
    published = model.native_precision
    return published if PRECISIONS[published] < PRECISIONS["bf16"] else SERVED_PRECISION


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPrice:
    """The price of one GPU-hour in US dollars, as offered or estimated by a source."""

    kind: str
    usd_per_hour: Decimal
    as_of: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU by its data sheet: bytes, bytes a second, dense operations a second.

    `link_bytes_s` is one direction to the others of its domain of `domain_gpus`. `flops_4bit` is
    None if 4-bit weights are widened before they are multiplied.
    """

    name: str
    memory_bytes: float
    bandwidth_bytes_s: float
    flops_16bit: float
    flops_8bit: float
    flops_4bit: float | None
    link_bytes_s: float
    domain_gpus: int
    typical: GpuPrice
    maker: str = "NVIDIA"
    prices: tuple[GpuPrice, ...] = ()
    source: str = ""

    def flops_per_s(self, bits: float) -> float:
        """Return the peak rate of multiplying numbers of that width."""
        if bits >= 16:
            return self.flops_16bit
        if bits < 5:
            return self.flops_4bit or self.flops_16bit
        return self.flops_8bit


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A GPU, how many of them, and in which widths a model lies on them.

    `tensor_parallel` GPUs share each attention layer; `attention_replicas` such groups each serve
    sequences of their own and share the routed experts among all. `kv_bits` is the width of the
    cache, which no vendor's table states and which changes throughput by half: a measurement
    without it proves little. `frees_local` says whether the engine frees what local layers no
    longer see. `memory_share` of a GPU and `reserve_bytes` less is left for weights and cache.
    """

    gpu: Gpu
    precision: str = SERVED_PRECISION
    tensor_parallel: int = 1
    attention_replicas: int = 1
    expert_parallel: int = 1
    engine: str = "vllm"
    kv_bits: int = 8
    frees_local: bool = True
    memory_share: float = 0.90
    reserve_bytes: float = 4e9

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"precision {self.precision!r} is not known",
                code="precision-unknown",
                hint=f"one of: {', '.join(PRECISIONS)}",
            )
        if self.engine not in ENGINES:
            raise UsageError(
                f"engine {self.engine!r} is not known",
                code="engine-unknown",
                hint=f"one of: {', '.join(ENGINES)}",
            )
        if self.kv_bits not in {4, 8, 16}:
            raise UsageError(
                f"a cache of {self.kv_bits} bits is not known",
                code="cache-bits-unknown",
                hint="one of: 4, 8, 16",
            )
        for name in ("tensor_parallel", "attention_replicas", "expert_parallel"):
            if not 1 <= getattr(self, name) <= 4096:
                raise UsageError(
                    f"{name} is {getattr(self, name)}",
                    code="hardware-invalid",
                    hint="give a whole number from 1 to 4096",
                )

    @property
    def gpus(self) -> int:
        """GPUs of the deployment."""
        return self.tensor_parallel * self.attention_replicas

    @property
    def crosses_network(self) -> bool:
        """Return whether the GPUs span more than one domain of fast links."""
        return self.gpus > self.gpu.domain_gpus

    @property
    def link_bytes_s(self) -> float:
        """Bytes a second of the slowest link between its GPUs."""
        return NETWORK_BYTES_S if self.crosses_network else self.gpu.link_bytes_s

    @property
    def expert_slices(self) -> float:
        """In how many slices an expert's matrices are cut."""
        return max(1.0, self.gpus / self.expert_parallel)

    @property
    def weight_bits(self) -> float:
        """Bits of a weight of networks and experts."""
        return PRECISIONS[self.precision]

    @property
    def weight_flops_s(self) -> float:
        """Peak rate of networks and experts; integers of 4 bits are widened to 16 and then multiplied."""
        return self.gpu.flops_16bit if self.precision == "int4" else self.gpu.flops_per_s(self.weight_bits)

    @property
    def attention_bits(self) -> float:
        """Bits of a weight of attention and output head: never fewer than 8 in what is published."""
        return 16.0 if self.precision in _KEEPS_ATTENTION_WIDE else max(8.0, self.weight_bits)

    @property
    def shared_bits(self) -> float:
        """Bits of a weight of dense networks and shared experts."""
        return self.weight_bits
