"""Computes whether a model fits, how many sequences fit at once, and the smallest deployment for it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from crossgrade.domain import Architecture
from crossgrade.hosting._hardware import Deployment
from crossgrade.hosting._sizes import attention_weights, expert_weights, kv_values, parameters
from crossgrade.hosting._work import STATE_BYTES

MOST_SEQUENCES = {"trtllm": 4096, "vllm": 1024, "sglang": 4096}
"""Sequences that an engine decodes at once for each attention replica: set for throughput, or its default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFit:
    """Bytes of one GPU: weights, what is left for the cache, what one sequence takes of it.

    `sequences` is how many fit in the whole deployment, 0 where the model or one sequence does not;
    `missing_bytes` is then by how much a GPU is too small.
    """

    weight_bytes: float
    free_bytes: float
    sequence_bytes: float
    sequences: int
    missing_bytes: float


def memory_fit(model: Architecture, deployment: Deployment, context: int) -> MemoryFit:
    """Return how a model and sequences of `context` tokens fit the memory of a deployment."""
    d = deployment
    projected = attention_weights(model) + model.vocabulary * model.hidden * (
        1 if model.tied_embeddings else 2
    )
    routed = model.expert_layers * model.experts * expert_weights(model)
    rest = parameters(model).total - projected - routed
    bits = projected * d.attention_bits + rest * d.shared_bits
    weight = bits / 8 / d.tensor_parallel + routed * d.weight_bits / 8 / d.gpus
    free = d.gpu.memory_bytes * d.memory_share - d.reserve_bytes - weight
    spread = 1.0 if model.latent else min(d.tensor_parallel, model.kv_heads)
    sequence = kv_values(model, context, frees_local=d.frees_local) * d.kv_bits / 8 / spread
    if model.linear:
        sequence += model.linear.layers * model.linear.state_values * STATE_BYTES / d.tensor_parallel
    own = min(MOST_SEQUENCES[d.engine], int(free / sequence)) if free > 0 else 0
    missing = max(0.0, sequence - free)
    return MemoryFit(
        weight_bytes=weight,
        free_bytes=max(0.0, free),
        sequence_bytes=sequence,
        sequences=own * d.attention_replicas,
        missing_bytes=0.0 if own else missing,
    )


def smallest_deployment(
    model: Architecture, like: Deployment, context: int, *, sequences: int = 1
) -> Deployment | None:
    """Return the deployment like the given one with the fewest GPUs that holds so many sequences.

    Tries tensor parallelism by powers of two within a domain of fast links, then more replicas of it;
    None if even 1,024 GPUs do not hold it, as when one sequence is larger than a domain.
    """
    for candidate in growing(model, like):
        if memory_fit(model, candidate, context).sequences >= sequences:
            return candidate
    return None


def splits_heads(model: Architecture, tensor_parallel: int) -> bool:
    """Return whether so many GPUs can share each attention layer: engines give each as many heads."""
    return model.heads % tensor_parallel == 0


def growing(model: Architecture, like: Deployment) -> Iterator[Deployment]:
    """Yield deployments like the given one that a model's heads allow, from one GPU to 1,024."""
    tensor, widest = 1, 1
    while tensor <= like.gpu.domain_gpus:
        if splits_heads(model, tensor):
            widest = tensor
            yield replace(like, tensor_parallel=tensor, attention_replicas=1, expert_parallel=1)
        tensor *= 2
    replicas = 2
    while widest * replicas <= 1024:
        gpus = widest * replicas
        yield replace(like, tensor_parallel=widest, attention_replicas=replicas, expert_parallel=gpus)
        replicas *= 2
