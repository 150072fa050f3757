"""`crossgrade cost scaling`: dense against sparse, as experts grow from 1 to 128."""

from typing import Any

import click

from crossgrade.cli._frame import json_option
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.cli._serving import deployment_options, fit_of, rent_of
from crossgrade.errors import UsageError

SCHEMA_VERSION = 1


@click.command()
@click.argument("model", default="llama-4-scout")
@deployment_options
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
@json_option
def command(model: str, input_tokens: float, output_tokens: float, *, as_json: bool, **options: Any) -> None:
    """Compare MODEL as a dense network with the same network cut into 2 to 128 experts.

    A token uses one expert, so its work stays while weights grow. At a batch of one that is nearly
    free; in a full batch each expert is read anyway, and only multiplications are saved.
    """
    from crossgrade.hosting import (
        Deployment,
        Load,
        announced_models,
        default_precision,
        known_gpu,
        known_model,
        scaling_steps,
    )

    if options["tp"] is not None or options["replicas"] != 1:
        raise UsageError(
            "the number of GPUs follows from the weights",
            code="options-conflict",
            hint="leave out --tp and --replicas",
        )
    rent = rent_of(options)
    box = Deployment(
        gpu=known_gpu(options["gpu"]),
        precision=options["precision"] or default_precision(known_model(model)),
        engine=options["engine"],
        kv_bits=options["kv_bits"],
        frees_local=not options["keeps_chunks"],
    )
    load = Load(input_tokens=input_tokens, output_tokens=output_tokens)
    fit = fit_of(None)
    steps = scaling_steps(known_model(model), box, load, fit.constants, usd_per_gpu_hour=rent.usd_per_hour)
    unreleased = announced_models()
    if as_json:
        print_json(
            {
                "model": model,
                "gpu": box.gpu.name,
                "usd_per_gpu_hour": rent.usd_per_hour,
                "band": fit.throughput.typical,
                "steps": steps,
                "announced": unreleased,
            },
            schema_version=SCHEMA_VERSION,
        )
        return
    batches = list(steps[0].weight_bytes_per_token)
    headers = (
        "experts",
        "total B",
        "active B",
        "GFLOP/token",
        "GPUs",
        *(f"GB/token at {batch}" for batch in batches),
        *(f"$/M out at {batch}" for batch in batches),
    )
    rows: list[tuple[object, ...]] = [
        (
            step.experts,
            f"{step.total / 1e9:,.1f}",
            f"{step.active / 1e9:,.1f}",
            f"{step.gflops_per_token:,.1f}",
            step.gpus,
            *(f"{step.weight_bytes_per_token[batch] / 1e9:.3f}" for batch in batches),
            *(None if (usd := step.usd_per_mtok_out[batch]) is None else f"{usd:.3f}" for batch in batches),
        )
        for step in steps
    ]
    rows += [
        (
            f"{each.experts} ({each.name})",
            f"{each.total / 1e9:,.0f}",
            f"{each.active / 1e9:,.0f}",
            f"{each.gflops_per_token:,.0f}",
            *(None for _ in range(1 + 2 * len(batches))),
        )
        for each in unreleased
    ]
    print_table(headers, rows, right=headers[1:])
    note(
        f"{model} on the fewest {box.gpu.name} that hold {max(batches)} requests, {box.precision} weights,"
        f" ${rent.usd_per_hour} a GPU-hour"
    )
    low, high = fit.throughput.typical
    note(
        f"80 % band of every price: {1 / high:.2f} to {1 / low:.2f} times it; measured on models that were"
        " built, and most rows were not",
        code="price-band",
    )
    for each in unreleased:
        note(f"{each.name}: {each.note}")
