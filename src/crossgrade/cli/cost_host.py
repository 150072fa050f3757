"""`crossgrade cost host`: what a model on GPUs of one's own does and costs, over the requests in flight."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import FiniteRange, json_option
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.cli._serving import (
    deployment_of,
    deployment_options,
    dollars_of,
    fit_of,
    model_of,
    named_deployment,
    rent_of,
)

if TYPE_CHECKING:
    from crossgrade.domain import Architecture, Estimate
    from crossgrade.hosting import Deployment, GpuPrice, Load, ServedAt, ServingFit

SCHEMA_VERSION = 1
_LADDER = (1.0, 4.0, 16.0, 64.0, 256.0)


@click.command()
@click.argument("model", required=False, metavar="[MODEL|MODEL@GPUxN]")
@click.option(
    "--config-json",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="config.json of a model, in place of a name.",
)
@click.option(
    "--input-tokens",
    type=float,
    default=3000,
    show_default=True,
    metavar="N",
    help="Mean tokens into a call.",
)
@click.option(
    "--output-tokens",
    type=float,
    default=1000,
    show_default=True,
    metavar="N",
    help="Mean tokens out of a call.",
)
@deployment_options
@click.option(
    "--utilisation",
    type=float,
    default=1.0,
    show_default=True,
    metavar="SHARE",
    help="Share of the time in use.",
)
@click.option(
    "--in-flight",
    "in_flight",
    multiple=True,
    type=FiniteRange(1, 100_000),
    metavar="N",
    help="Requests at once; repeat.  [default: 1 to as many as fit]",
)
@click.option(
    "--prompt-tokens",
    multiple=True,
    type=click.IntRange(1, 100_000_000),
    metavar="N",
    help="Say what reading one prompt of N tokens costs, instead; repeat.",
)
@click.option("--against", metavar="USD", help="Price a million tokens that a host asks, for the break-even.")
@click.option(
    "--fit",
    "fit_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Constants that `crossgrade cost calibrate` wrote.",
)
@json_option
def command(
    model: str | None,
    config_json: Path | None,
    input_tokens: float,
    output_tokens: float,
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """Say what MODEL on your own GPUs does and costs.

    `llama-4-scout@h100x4` names model and GPUs in one word, as `cost --deploy` does.

    Throughput, latencies and dollars per million tokens, each with the band in which 80 % of measured
    points of unseen model families lie, from one request in flight to as many as memory holds. The band
    is wider where errors were larger. That of the time to the first token is its own.
    """
    from crossgrade.hosting import Load, hosting_ladder, memory_fit

    model, options = named_deployment(model, options)
    sizes = model_of(model, config_json)
    load = Load(input_tokens=input_tokens, output_tokens=output_tokens)
    fit, rent = fit_of(options["fit_path"]), rent_of(options)
    box = deployment_of(sizes, load, fit, options)
    if options["prompt_tokens"]:
        _prompts(sizes, box, fit, rent, options["prompt_tokens"], as_json=as_json)
        return
    room = memory_fit(sizes, box, load.held_tokens).sequences
    wanted = options["in_flight"] or [*(step for step in _LADDER if step < room), float(max(1, room))]
    ladder = hosting_ladder(
        sizes,
        box,
        load,
        fit,
        usd_per_gpu_hour=rent.usd_per_hour,
        utilisation=options["utilisation"],
        in_flight=wanted,
    )
    against = None if options["against"] is None else dollars_of(options["against"], "--against")
    record = _record(sizes, box, load, rent=rent, fit=fit, ladder=ladder, against=against)
    record["utilisation"] = options["utilisation"]
    record["other_cache"] = _other_cache(sizes, box, load, rent=rent, fit=fit)
    if as_json:
        print_json(record, schema_version=SCHEMA_VERSION)
        return
    _show(record, ladder)


def _record(
    model: "Architecture",
    box: "Deployment",
    load: "Load",
    *,
    rent: "GpuPrice",
    fit: "ServingFit",
    ladder: "tuple[ServedAt, ...]",
    against: Decimal | None,
) -> dict[str, Any]:
    from crossgrade.hosting import (
        box_usd_per_day,
        break_even_tokens_per_day,
        kv_bytes_per_token,
        memory_fit,
        parameters,
    )

    held = load.held_tokens
    counted, memory = parameters(model), memory_fit(model, box, held)
    a_day = box_usd_per_day(box, rent.usd_per_hour)
    break_even: dict[str, Any] | None = None
    if against is not None:
        tokens = break_even_tokens_per_day(a_day, against)
        most = ladder[-1].tokens_per_day.value
        share = float(tokens) / most if most else None
        break_even = {"usd_per_mtok": against, "tokens_per_day": int(tokens), "utilisation": share}
    return {
        "model": model.name,
        "licence": model.licence,
        "parameters": {"total": counted.total, "active": counted.active},
        "kv_bytes_per_token": kv_bytes_per_token(
            model, held, kv_bits=box.kv_bits, frees_local=box.frees_local
        ),
        "deployment": {
            "gpu": box.gpu.name,
            "gpus": box.gpus,
            "tensor_parallel": box.tensor_parallel,
            "attention_replicas": box.attention_replicas,
            "precision": box.precision,
            "kv_bits": box.kv_bits,
            "engine": box.engine,
            "frees_local": box.frees_local,
            "usd_per_gpu_hour": rent.usd_per_hour,
            "rent": {"kind": rent.kind, "as_of": rent.as_of, "source": rent.source},
            "usd_per_day": a_day,
        },
        "memory": memory,
        "load": load,
        "fit": {
            "n": fit.n,
            "timed": fit.timed,
            "fitted_on": fit.fitted_on,
            "band": _band_of(ladder[-1].output_tokens_s),
            "ttft_band": _band_of(ladder[-1].ttft_ms),
            "constants": fit.constants,
        },
        "ladder": ladder,
        "break_even": break_even,
    }


def _other_cache(
    model: "Architecture", box: "Deployment", load: "Load", *, rent: "GpuPrice", fit: "ServingFit"
) -> dict[str, Any]:
    """Return what the same box does with the other common width of the cache, at most in flight."""
    from crossgrade.hosting import hosting_ladder, memory_fit

    other = replace(box, kv_bits=16 if box.kv_bits == 8 else 8)
    room = memory_fit(model, other, load.held_tokens).sequences
    full = None
    if room:
        (full,) = hosting_ladder(model, other, load, fit, usd_per_gpu_hour=rent.usd_per_hour)
    return {
        "kv_bits": other.kv_bits,
        "sequences": room,
        "output_tokens_s": None if full is None else full.output_tokens_s,
        "per_mtok": None if full is None else full.per_mtok,
    }


def _prompts(
    model: "Architecture",
    box: "Deployment",
    fit: "ServingFit",
    rent: "GpuPrice",
    tokens: Sequence[int],
    *,
    as_json: bool,
) -> None:
    """Print what reading one prompt of each size costs, and whether it fits at all."""
    from crossgrade.hosting import prompt_costs

    costs = prompt_costs(model, box, fit, tokens, usd_per_gpu_hour=rent.usd_per_hour)
    if as_json:
        record = {"model": model.name, "gpu": box.gpu.name, "gpus": box.gpus, "kv_bits": box.kv_bits}
        record |= {"usd_per_gpu_hour": rent.usd_per_hour, "prompts": costs}
        print_json(record, schema_version=SCHEMA_VERSION)
        return
    headers = ("prompt tokens", "seconds", "$/M prompt", "fits")
    rows = [
        (
            f"{each.tokens:,.0f}",
            _range(each.seconds, ",.1f"),
            _range(each.per_mtok, ".3f"),
            f"no: {each.missing_bytes / 1e9:,.1f} GB a GPU too small" if each.missing_bytes else "yes",
        )
        for each in costs
    ]
    print_table(headers, rows, right=headers[:3])
    note(
        f"{model.name} on {box.gpus} x {box.gpu.name}, {box.precision} weights, {box.kv_bits}-bit cache,"
        f" {box.engine}, ${rent.usd_per_hour} a GPU-hour; one prompt alone, nothing of it cached before"
    )


def _show(record: dict[str, Any], ladder: "tuple[ServedAt, ...]") -> None:
    box, memory = record["deployment"], record["memory"]
    total, active = record["parameters"]["total"], record["parameters"]["active"]
    rows = [
        (
            f"{step.in_flight:,.0f}",
            _range(step.output_tokens_s, ",.0f"),
            _range(step.ttft_ms, ",.0f"),
            _range(step.tpot_ms, ",.1f"),
            _range(step.input_per_mtok, ".3f"),
            _range(step.output_per_mtok, ".3f"),
            _range(step.per_mtok, ".3f"),
        )
        for step in ladder
    ]
    headers = ("in flight", "out tok/s", "TTFT ms", "TPOT ms", "$/M in", "$/M out", "$/M both")
    print_table(headers, rows, right=headers)
    licence = record["licence"] or "licence unknown"
    note(f"{record['model']}: {total / 1e9:,.1f}B parameters, {active / 1e9:,.1f}B active ({licence})")
    note(
        f"{box['gpus']} x {box['gpu']}, {box['precision']} weights, {box['kv_bits']}-bit cache,"
        f" {box['engine']}; {memory.weight_bytes / 1e9:,.1f} GB of weights a GPU,"
        f" {memory.sequence_bytes / 1e9:,.2f} GB a request, {memory.sequences:,} at once"
    )
    rent = box["rent"]
    dated = f"{rent['kind']}, {rent['as_of']}: {rent['source']}" if rent["as_of"] else rent["source"]
    note(f"${box['usd_per_gpu_hour']} a GPU-hour ({dated}); ${box['usd_per_day']:,.2f} a day, used or not")
    other = record["other_cache"]
    if other["per_mtok"] is not None:
        note(
            f"with a {other['kv_bits']}-bit cache {other['sequences']:,} at once, then"
            f" {_range(other['output_tokens_s'], ',.0f')} tokens/s"
            f" and ${_range(other['per_mtok'], '.3f')} a million",
            code="other-cache",
        )
    low, high = record["fit"]["band"]
    early, late = record["fit"]["ttft_band"]
    note(
        "bands: 80 % of measured points of unseen families lie in them; in the last row"
        f" {low:.2f} to {high:.2f} times the predicted speed, {early:.2f} to {late:.2f} times the TTFT"
    )
    even = record["break_even"]
    if even is not None:
        share = even["utilisation"]
        use = "" if share is None else f", {share:.0%} of what it can serve"
        note(
            f"break-even against ${even['usd_per_mtok']} a million tokens:"
            f" {even['tokens_per_day']:,} tokens a day{use}",
            code="break-even",
        )


def _band_of(estimate: "Estimate") -> tuple[float, float]:
    """Return measured over predicted, between which an estimate's band lies."""
    value, low, high = estimate.value, estimate.low, estimate.high
    assert value is not None, "the serving model gives a number"
    assert low is not None, "with a band"
    assert high is not None, "with a band"
    return low / value, high / value


def _range(estimate: "Estimate", shape: str) -> str:
    return f"{estimate.value:{shape}} [{estimate.low:{shape}}, {estimate.high:{shape}}]"
