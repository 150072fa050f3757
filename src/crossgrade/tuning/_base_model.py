"""The model that an adapter is trained on: its size, and what memory and time its training takes.

Memory is that of 32-bit weights, LoRA's weights with gradients and two moments of Adam, and the activations
that the backward pass keeps. Time is 6 floating-point operations for each weight and token
(Kaplan et al. 2020, arXiv 2001.08361), at a rate measured with SmolLM2-135M.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from crossgrade.errors import DataError, UsageError, said_by
from crossgrade.providers.models import read_gguf_tensors
from crossgrade.tuning._lora_file import PROJECTIONS, LoraLayout, check_architecture

_FLOPS_PER_CORE = 8e10
_BYTES = 4
_PROCESS_BYTES = 700 * 2**20
"""Memory of a process that has loaded PyTorch and Transformers."""
_KEPT_PER_TOKEN = 18
"""Activations of the model's width that a layer keeps for each token, without the feed-forward's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """The shape of a model in a GGUF file; `parameters` counts all weights."""

    path: str
    sha256: str
    architecture: str
    parameters: int
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    context_tokens: int

    @property
    def layout(self) -> LoraLayout:
        """What the file of an adapter depends on."""
        return LoraLayout(architecture=self.architecture, heads=self.heads, kv_heads=self.kv_heads)

    def trainable(self, rank: int) -> int:
        """Return the weights of a LoRA adapter of this rank on all projections."""
        kv = self.hidden * self.kv_heads // max(self.heads, 1)
        widths = {"attn_k": kv, "attn_v": kv}
        pairs = [
            self.hidden + (self.feed_forward if name.startswith("ffn") else widths.get(name, self.hidden))
            for name in PROJECTIONS.values()
        ]
        return rank * self.layers * sum(pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How an adapter is trained.

    `steps` of `batch` examples of at most `max_tokens` each, on matrices of `rank`, scaled by `scale / rank`.
    The `learning_rate` rises over the first tenth of the steps and then falls to 0 (cosine). A checkpoint is
    kept every `save_every` steps. The same `seed` on the same machine, with the same `threads`, gives the
    same adapter to the last bit.
    """

    steps: int = 120
    batch: int = 4
    max_tokens: int = 256
    rank: int = 8
    scale: float = 16.0
    learning_rate: float = 1e-3
    save_every: int = 10
    seed: int = 1
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEstimate:
    """What a training probably takes: the largest memory in bytes, and seconds over all its threads."""

    memory_bytes: int
    cpu_seconds: float

    @property
    def wall_words(self) -> str:
        """The time in words."""
        minutes = self.cpu_seconds / 60
        if minutes < 0.1:
            return "less than 0.1 CPU-minutes"
        return f"about {minutes:.1f} CPU-minutes" if minutes < 90 else f"about {minutes / 60:.1f} CPU-hours"


def read_base(path: Path, *, sha256: str) -> BaseModel:
    """Read the shape of a model from its GGUF file.

    Raises `UsageError` for an architecture whose adapters cannot be written, and `DataError` for a file that
    cannot be read, or has a width of its own for each layer.
    """
    metadata, tensors = read_gguf_tensors(path)
    architecture = str(metadata.get("general.architecture"))
    check_architecture(architecture)

    def number(name: str) -> int:
        return int(str(metadata[f"{architecture}.{name}"]))

    try:
        return BaseModel(
            path=str(path),
            sha256=sha256,
            architecture=architecture,
            parameters=sum(prod(each.shape) for each in tensors.values()),
            layers=number("block_count"),
            hidden=number("embedding_length"),
            feed_forward=number("feed_forward_length"),
            heads=number("attention.head_count"),
            kv_heads=number("attention.head_count_kv"),
            context_tokens=number("context_length"),
        )
    except (KeyError, ValueError) as error:
        raise DataError(
            f"the model's file does not say what a training has to know: {said_by(error)}",
            code="base-unreadable",
            file=path,
            hint="check the file with `crossgrade models verify`",
        ) from error


def estimate_training(
    base: BaseModel, settings: TrainingSettings, tokens: float | None = None
) -> TrainingEstimate:
    """Return what a training takes if every example has `tokens` tokens, by default the most allowed."""
    rows = settings.batch * settings.max_tokens
    width = _KEPT_PER_TOKEN * base.hidden + 4 * base.feed_forward + base.heads * settings.max_tokens * 2
    activations = rows * base.layers * width
    weights = base.parameters + 4 * base.trainable(settings.rank)
    used = settings.steps * settings.batch * (settings.max_tokens if tokens is None else tokens)
    return TrainingEstimate(
        memory_bytes=_BYTES * (weights + activations) + _PROCESS_BYTES,
        cpu_seconds=6 * base.parameters * used / _FLOPS_PER_CORE,
    )


def what_fits(base: BaseModel, settings: TrainingSettings, memory_bytes: int) -> TrainingSettings | None:
    """Return the settings with the largest batch, then the longest examples, that fit; None if none does.

    Fewer examples a step mean more steps: all examples together are seen as often as before.
    """
    smaller = settings
    while estimate_training(base, smaller).memory_bytes > memory_bytes:
        if smaller.batch > 1:
            batch = smaller.batch // 2
            steps = -(-settings.steps * settings.batch // batch)
            smaller = replace(smaller, batch=batch, steps=steps)
        elif smaller.max_tokens > 64:
            smaller = replace(smaller, max_tokens=smaller.max_tokens // 2)
        elif smaller.rank > 1:
            smaller = replace(smaller, rank=smaller.rank // 2)
        else:
            return None
    return smaller


def out_of_memory(base: BaseModel, settings: TrainingSettings, memory_bytes: int | None) -> UsageError:
    """Return the error of a training that does not fit, which says what would.

    `memory_bytes` is what is free, None if a process ended without saying so: half of what was estimated
    then stands for it.
    """
    needed = estimate_training(base, settings).memory_bytes
    fits = what_fits(base, settings, needed // 2 if memory_bytes is None else memory_bytes)
    free = "" if memory_bytes is None else f", and {gib(memory_bytes)} are free"
    if fits is None:
        hint = f"take a smaller model: its weights alone take {gib(_BYTES * base.parameters)}"
    else:
        steps = "" if fits.steps == settings.steps else f"--steps {fits.steps} "
        hint = (
            f"this would fit: {steps}--batch {fits.batch} --max-tokens {fits.max_tokens} --rank {fits.rank}"
        )
    return UsageError(
        f"training needs about {gib(needed)} of memory{free}", code="training-out-of-memory", hint=hint
    )


def check_memory(base: BaseModel, settings: TrainingSettings, memory_bytes: int | None) -> None:
    """Raise `UsageError` for a training that does not fit in the free memory (None: unknown)."""
    if memory_bytes is not None and estimate_training(base, settings).memory_bytes > memory_bytes:
        raise out_of_memory(base, settings, memory_bytes)


def free_memory_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the memory that a new process may use: the machine's, or what its control group has left."""
    free = _meminfo(proc / "meminfo").get("MemAvailable")
    try:
        limit = (groups / "memory.max").read_text().strip()
        used = int((groups / "memory.current").read_text())
        left = None if limit == "max" else max(0, int(limit) - used)
    except (OSError, ValueError):
        left = None
    known = [each for each in (free, left) if each is not None]
    return min(known, default=None)


def _meminfo(path: Path) -> Mapping[str, int]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    cells = [line.replace(":", " ").split() for line in lines]
    return {each[0]: int(each[1]) * 1024 for each in cells if len(each) == 3 and each[1].isdigit()}


def gib(size: int) -> str:
    """Return a size in words."""
    return f"{size / 2**30:.1f} GiB"
