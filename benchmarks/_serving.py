"""The serving model: cross-validated errors, coverage of its band, exact sizes, the box of four H100."""

import subprocess
import sys
from dataclasses import replace
from decimal import Decimal

from benchmarks._sizes_peer import transformers_sizes
from benchmarks._table import Row
from crossgrade.hosting import (
    ENOUGH_FOR_A_GROUP,
    Deployment,
    HeldOutGroup,
    cross_validate,
    hold_out,
    known_gpu,
    known_gpus,
    known_model,
    known_models,
    parameters,
    prompt_costs,
    shipped_fit,
    shipped_measurements,
)

_REFERENCE = {
    "llama-4-scout": (107_769_861_120, 17_172_894_720),
    "llama-4-maverick": (400_711_848_960, 17_184_691_200),
}
"""Weights that `crossgrade.reference` reads, total and for one token."""

_RENT = Decimal("2.35")

_ONE_BAND = 1.74
"""Upper end over lower of the one band that all points had before bands had widths of their own."""

_GROUPINGS = ("family", "gpu", "tokens of a request", "tokens", "in flight")


def rows() -> list[Row]:
    """Measure all rows."""
    return [*_errors(), *_held_out(), *_sizes(), *_long_prompts()]


def _errors() -> list[Row]:
    points = shipped_measurements()
    found: list[Row] = []
    for grouping in ("family", "hardware", "model", "engine"):
        v = cross_validate(points, known_models(), known_gpus(), grouping)
        groups = "; ".join(
            f"{g.name} {g.median:.1%} / {g.p90:.0%} (n {g.n}, bias {g.bias:+.2f})" for g in v.groups
        )
        row: Row = {
            "figure": f"throughput, leave one {grouping} out: median abs. error / p90 / worst {grouping}'s median",
            "value": f"{v.median:.1%} / {v.p90:.1%} / {v.worst_median:.1%}",
            "conditions": f"all {v.n} points; median / p90 of each: {groups}",
        }
        if grouping == "family":
            row["must"], row["aim"] = "18 % / 55 % / 30 %", "12 % / 40 % / 20 %"
            row["holds"] = v.median <= 0.18 and v.p90 <= 0.55 and v.worst_median <= 0.30
        found.append(row)
        if grouping == "family":
            found.append({
                "figure": "share of points inside one 80 % band for all",
                "value": f"{v.coverage:.1%}",
                "must": "75-88 %",
                "aim": "78-82 %",
                "holds": 0.75 <= v.coverage <= 0.88,
                "conditions": f"one band for all of a family, from the errors on the others: measured is {v.low:.2f} to {v.high:.2f} times predicted",
            })  # fmt: skip
    return found


def _held_out() -> list[Row]:
    """Errors on points that neither constants nor bands have seen: the hash of a point's name holds it out."""
    throughput, first_token = hold_out(shipped_measurements(), known_models(), known_gpus())
    everything = next(group for group in throughput if group.grouping == "all")
    maverick = next(group for group in throughput if group.name == "llama-4-maverick")
    how = "five parts by SHA-256 of a point's name, each predicted by a fit and bands of the other four"
    found: list[Row] = [
        {
            "figure": "throughput, held out by hash: median abs. error / share in the band",
            "value": f"{everything.median:.1%} / {everything.coverage:.1%}",
            "must": "share 75-88 %",
            "aim": "share 78-82 %",
            "holds": 0.75 <= everything.coverage <= 0.88,
            "conditions": f"n {everything.n}; {how}",
        },
        {
            "figure": "throughput: median of a band's upper end over its lower",
            "value": everything.ratio,
            "must": "<= 2.26",
            "holds": everything.ratio <= 1.3 * _ONE_BAND,
            "conditions": f"1.3 times {_ONE_BAND}, which was the ratio when all points had one band; held-out points",
        },
        {
            "figure": "throughput of Llama 4 Maverick, held out by hash: median abs. error",
            "value": f"{maverick.median:.1%}",
            "aim": "< 20 %",
            "conditions": f"n {maverick.n}; in the band: {maverick.coverage:.0%}",
        },
    ]
    for name, groups in (("throughput", throughput), ("time to the first token", first_token)):
        found += [_group_row(name, group) for group in groups if _is_stated(name, group)]
    return found


def _is_stated(name: str, group: HeldOutGroup) -> bool:
    stated = _GROUPINGS if name == "throughput" else ("all", *_GROUPINGS[:2])
    return group.grouping in stated and group.n >= ENOUGH_FOR_A_GROUP


def _group_row(name: str, group: HeldOutGroup) -> Row:
    which = "all points" if group.grouping == "all" else f"{group.grouping} {group.name}"
    row: Row = {
        "figure": f"{name}, held out by hash, {which}: share in its band",
        "value": f"{group.coverage:.1%}",
        "conditions": f"n {group.n}, median abs. error {group.median:.1%}, band's ends {group.ratio:.2f} apart",
    }
    if name == "throughput" or group.grouping == "all":
        row["must"], row["holds"] = ">= 65 %", group.coverage >= 0.65
    return row


def _sizes() -> list[Row]:
    try:
        peer = transformers_sizes(tuple(_REFERENCE))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"Transformers could not be installed: {error}", file=sys.stderr)
        peer = None
    found: list[Row] = []
    for name, reference in _REFERENCE.items():
        counted = parameters(known_model(name))
        wanted = reference if peer is None else peer.counted[name]
        found.append({
            "figure": f"parameters of {name}: total / active",
            "value": f"{counted.total:,} / {counted.active:,}",
            "must": "exact",
            "aim": "exact",
            "holds": (counted.total, counted.active) == wanted == reference,
            "peers": {} if peer is None else {f"transformers {peer.version}": f"{wanted[0]:,} / {wanted[1]:,}"},
            "conditions": "text model; also what crossgrade.reference reads, name by name (a test). The peer builds "
            "Llama4ForCausalLM without memory and counts its tensors",
        })  # fmt: skip
    return found


def _long_prompts() -> list[Row]:
    box = Deployment(gpu=known_gpu("h100"), tensor_parallel=4)
    wanted = {131_072: 0.06, 1_000_000: 0.32, 10_000_000: 2.8}
    costs = prompt_costs(
        known_model("llama-4-scout"), box, shipped_fit(), list(wanted), usd_per_gpu_hour=_RENT
    )
    # The wanted figures are a prototype's: matrices and attention alone, the latter at 0.49 x 0.6 of peak.
    fit = shipped_fit()
    bare = replace(
        fit.constants, rate_prompts=0.294, link=1e9, round_us=1e-9, network_rounds=1e-9, kernel_us=1e-9,
        step_ms=1e-12,
    )  # fmt: skip
    theirs = prompt_costs(
        known_model("llama-4-scout"), box, replace(fit, constants=bare), list(wanted), usd_per_gpu_hour=_RENT
    )
    found: list[Row] = []
    for cost, that, (tokens, about) in zip(costs, theirs, wanted.items(), strict=True):
        usd, low, high = cost.per_mtok.value, cost.per_mtok.low, cost.per_mtok.high
        assert None not in (usd, low, high)
        fits = not cost.missing_bytes
        said = "fits" if fits else f"does not fit: {cost.missing_bytes / 1e9:.1f} GB a GPU too small"
        found.append({
            "figure": f"prompt compute of Scout on 4 x H100 at ${_RENT}, at {tokens:,} tokens",
            "value": f"{usd:.3f} [{low:.3f}, {high:.3f}] $/M",
            "must": f"about {about}" + ("" if tokens < 10_000_000 else ", does not fit"),
            "aim": "same",
            "holds": low <= about <= high and fits == (tokens < 10_000_000),
            "conditions": f"{said} with an 8-bit cache; {usd / about - 1:+.0%} from the wanted figure. That is a model's too: "
            f"matrices and attention alone, attention at 0.294 of peak; so counted ours is {that.per_mtok.value:.3f}. Ours adds "
            f"what passes between GPUs, and attention reaches {fit.constants.rate_prompts:.3f} of peak by the fit; "
            "holds: inside the 80 % band. One public test of Scout on 8 H200 implies 0.26 at 1M, 2.1 at 10M",
        })  # fmt: skip
    return found
