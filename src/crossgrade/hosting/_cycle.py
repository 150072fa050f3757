"""Throughput, latency and price of serving a model on GPUs, over the requests in flight.

A closed loop keeps B requests in flight. Each takes `output_tokens` steps; meanwhile its neighbours'
prompts are read, in part in steps of their own and in part together with decoding ("chunked
prefill", Agrawal et al., OSDI 2024). Throughput follows from the length of that cycle by Little's
law. Prices split a cycle's seconds into those that prompts cause and the rest.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import Architecture
from crossgrade.errors import UsageError
from crossgrade.hosting._hardware import Deployment
from crossgrade.hosting._memory import growing, memory_fit, smallest_deployment, splits_heads
from crossgrade.hosting._timing import Constants, first_token_seconds, least_seconds, step_seconds
from crossgrade.hosting._work import Array, StepWork, step_work

CHUNK_TOKENS = 8192
"""Prompt tokens that engines read in one step unless told otherwise."""

MOST_TOKENS = 100_000_000

RESERVED_TOKENS = 1024
"""Answers of this length get room for three quarters of it, much longer ones for all; our assumption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Sizes of a request: tokens in and out.

    `cached_share` of the input is found in the engine's own prefix cache: those tokens are held and
    attended to, but not computed again. No measured point has any, so no band covers it.
    """

    input_tokens: float
    output_tokens: float
    cached_share: float = 0.0

    @property
    def fresh_tokens(self) -> float:
        """Tokens of the input that are computed: one at least, from which the answer follows."""
        return max(1.0, self.input_tokens * (1 - self.cached_share))

    @property
    def held_tokens(self) -> int:
        """Tokens for which a request gets room in the cache: more of a long answer than of a short one.

        Short answers make room for one another, and half of one is there on average. An engine that
        gave no more to long ones would have to drop requests that it has begun.
        """
        spare = 0.5 * self.output_tokens / (self.output_tokens + RESERVED_TOKENS)
        return max(1, int(self.input_tokens + self.output_tokens * (0.5 + spare)))

    def __post_init__(self) -> None:
        if not 0 <= self.cached_share <= 1:
            raise UsageError(
                f"a cached share of {self.cached_share:g}",
                code="cache-share-invalid",
                hint="give a share of the input from 0 to 1",
            )
        for name in ("input_tokens", "output_tokens"):
            value = getattr(self, name)
            if not 1 <= value <= MOST_TOKENS:
                raise UsageError(
                    f"{name.replace('_', ' ')} is {value:g}",
                    code="load-invalid",
                    hint=f"give a number from 1 to {MOST_TOKENS:,}",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleWork:
    """Work of decoding alone, of decoding with its share of prompts, and of steps that read prompts alone.

    `prompt` is a step of the prompts that arrive by chance in one step, `packed` one of as many as an
    engine reads at once; `together` and `most_together` say how many those are. A prompt longer than a
    step is read in pieces.
    """

    decoding: StepWork
    mixed: StepWork
    prompt: StepWork
    packed: StepWork
    together: Array
    most_together: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a deployment does at each of n loads; arrays of shape (n,).

    `in_flight` are requests at once, no more than memory holds. Times are means. `input_gpu_s` and
    `output_gpu_s` are GPU-seconds a token; the two account for the whole cycle.
    """

    in_flight: Array
    output_tokens_s: Array
    output_tokens_s_gpu: Array
    ttft_ms: Array
    tpot_ms: Array
    input_gpu_s: Array
    output_gpu_s: Array
    most_tokens_s_gpu: Array


def serve(
    model: Architecture,
    deployment: Deployment,
    load: Load,
    constants: Constants,
    in_flight: NDArray[np.float64] | None = None,
) -> Served:
    """Return what a deployment does with `in_flight` requests at once, as many as fit by default.

    Raises `UsageError` if the model does not fit: by how much, and the smallest deployment that does.
    """
    require_fit(model, deployment, load)
    room = memory_fit(model, deployment, load.held_tokens).sequences
    wanted = np.array([float(room)]) if in_flight is None else np.asarray(in_flight, dtype=np.float64)
    flying = np.clip(wanted, 1.0, room)
    served = cycle(
        cycle_work(model, deployment, load, flying),
        constants,
        input_tokens=np.full_like(flying, load.input_tokens),
        output_tokens=np.full_like(flying, load.output_tokens),
        in_flight=flying,
        gpus=np.full_like(flying, deployment.gpus),
        fresh_tokens=np.full_like(flying, load.fresh_tokens),
    )
    return replace(served, ttft_ms=served.ttft_ms + waiting_ms(served, wanted, load.output_tokens))


def waiting_ms(served: Served, wanted: Array, output_tokens: float | Array) -> Array:
    """Return how long requests wait for room where more are `wanted` in flight than fit."""
    more = np.maximum(0.0, wanted - served.in_flight) / served.in_flight
    return np.asarray(more * output_tokens * served.tpot_ms)


def require_fit(model: Architecture, deployment: Deployment, load: Load) -> None:
    """Raise `UsageError` if one request does not fit the memory, or GPUs cannot share the heads."""
    if not splits_heads(model, deployment.tensor_parallel):
        most = min(model.heads, deployment.gpu.domain_gpus)
        sizes = [str(n) for n in range(1, most + 1) if splits_heads(model, n)]
        raise UsageError(
            f"{deployment.tensor_parallel} GPUs cannot share the {model.heads} heads of {model.name}",
            code="gpus-do-not-divide",
            hint=f"tensor parallel is one of {', '.join(sizes)}; more GPUs serve as replicas",
        )
    context = load.held_tokens
    fit = memory_fit(model, deployment, context)
    if fit.sequences:
        return
    d = deployment
    least = smallest_deployment(model, d, context)
    needed = fit.weight_bytes + fit.sequence_bytes
    hint = "use fewer bits, a shorter context or a GPU with more memory"
    if least is not None:
        replicas = f" x {least.attention_replicas} replicas" if least.attention_replicas > 1 else ""
        hint = (
            f"the smallest deployment that fits is {least.gpus} x {d.gpu.name}"
            f" (tensor parallel {least.tensor_parallel}{replicas})"
        )
    raise UsageError(
        f"{model.name} in {d.precision} with {context:,} tokens in flight does not fit"
        f" {d.gpus} x {d.gpu.name}: a GPU would need {needed / 1e9:,.1f} GB"
        f" ({fit.weight_bytes / 1e9:,.1f} of weights, {fit.sequence_bytes / 1e9:,.1f} of"
        f" {'an' if d.kv_bits == 8 else 'a'} {d.kv_bits}-bit cache) and is"
        f" {fit.missing_bytes / 1e9:,.1f} GB too small",
        code="gpus-too-small",
        hint=hint,
    )


def cheapest_deployment(
    model: Architecture, like: Deployment, load: Load, constants: Constants
) -> Deployment | None:
    """Return the deployment within one domain of fast links whose tokens cost least at full use.

    Where none there fits, the smallest one that does, or None.
    """
    held = load.held_tokens
    best, least = None, math.inf
    for candidate in growing(model, like):
        if candidate.crosses_network or candidate.attention_replicas > 1:
            break
        if not memory_fit(model, candidate, held).sequences:
            continue
        served = serve(model, candidate, load, constants)
        cost = float(served.input_gpu_s[0] * load.input_tokens + served.output_gpu_s[0] * load.output_tokens)
        if cost < least:
            best, least = candidate, cost
    return best or smallest_deployment(model, like, held)


def cycle_work(model: Architecture, deployment: Deployment, load: Load, flying: Array) -> CycleWork:
    """Return the work of one step at each number of requests in flight."""
    ones = np.ones_like(flying)
    context = (load.input_tokens + load.output_tokens / 2) * ones
    # Fresh tokens are the last ones: on average they attend to what a prompt of this length would on
    # average, were all of it fresh.
    length = (2 * load.input_tokens - load.fresh_tokens) * ones

    def work(sequences: Array, context: Array, prompt_tokens: Array) -> StepWork:
        return step_work(
            model,
            deployment,
            sequences=sequences,
            context=context,
            prompt_tokens=prompt_tokens,
            prompt_length=length,
        )

    piece, replicas = min(load.fresh_tokens, CHUNK_TOKENS), deployment.attention_replicas
    # Each attention replica reads prompts of its own, and all take as long as the one with most.
    most = np.clip(flying, 1.0, replicas * max(1.0, CHUNK_TOKENS // load.fresh_tokens))
    few = np.clip(np.maximum(flying / load.output_tokens, replicas), 1.0, most)
    return CycleWork(
        decoding=work(flying, context, 0 * ones),
        mixed=work(flying, context, flying * load.fresh_tokens / load.output_tokens),
        prompt=work(0 * ones, ones, piece * np.maximum(few, replicas)),
        packed=work(0 * ones, ones, piece * np.maximum(most, replicas)),
        together=few,
        most_together=most,
    )


def cycle(
    work: CycleWork,
    constants: Constants,
    *,
    input_tokens: Array,
    output_tokens: Array,
    in_flight: Array,
    gpus: Array,
    fresh_tokens: Array | None = None,
) -> Served:
    """Return what follows from the work of a cycle; n may run over deployments as well as loads.

    `fresh_tokens` of the input are computed, all where None.
    """
    fresh = input_tokens if fresh_tokens is None else fresh_tokens
    c = constants
    decoding, mixed = step_seconds(work.decoding, c), step_seconds(work.mixed, c)
    pieces = np.maximum(1.0, fresh / CHUNK_TOKENS)
    prompt, packed = step_seconds(work.prompt, c) * pieces, step_seconds(work.packed, c) * pieces
    each = (1 - c.packed) * prompt / work.together + c.packed * packed / work.most_together
    apart = in_flight * each / output_tokens
    extra = c.apart * apart + (1 - c.apart) * np.maximum(0.0, mixed - decoding)
    step = decoding + extra
    whole = step * output_tokens + c.first_token * prompt
    tokens_s = in_flight * output_tokens / whole
    first = first_token_seconds(
        c,
        engine=work.prompt.engine,
        in_flight=in_flight,
        prompt=prompt,
        each=packed / work.most_together,
        step=step,
    )
    return Served(
        in_flight=in_flight,
        output_tokens_s=tokens_s,
        output_tokens_s_gpu=tokens_s / gpus,
        ttft_ms=(step + first) * 1e3,
        tpot_ms=step * 1e3,
        input_gpu_s=gpus * (extra * output_tokens + c.first_token * prompt) / (in_flight * input_tokens),
        output_gpu_s=gpus * decoding / in_flight,
        most_tokens_s_gpu=in_flight / least_seconds(work.mixed, work.decoding) / gpus,
    )


def prompt_seconds(model: Architecture, deployment: Deployment, constants: Constants, tokens: Array) -> Array:
    """Return the time that the deployment needs to read a prompt of each size alone."""
    piece = np.minimum(tokens, CHUNK_TOKENS)
    work = step_work(
        model,
        deployment,
        sequences=np.zeros_like(tokens),
        context=np.ones_like(tokens),
        prompt_tokens=piece,
        prompt_length=tokens,
    )
    return np.asarray(step_seconds(work, constants) * np.maximum(1.0, tokens / CHUNK_TOKENS))


def most_in_flight(
    model: Architecture, deployment: Deployment, load: Load, constants: Constants, tpot_limit_ms: float
) -> float:
    """Return how many requests may be in flight before a token takes longer than the limit; at least 1."""
    require_fit(model, deployment, load)
    room = memory_fit(model, deployment, load.held_tokens).sequences
    ladder = np.unique(np.round(np.geomspace(1.0, max(2.0, room), 80)))
    fits = serve(model, deployment, load, constants, ladder).tpot_ms <= tpot_limit_ms
    return float(ladder[fits].max()) if fits.any() else 1.0
