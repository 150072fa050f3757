"""`crossgrade cost measure`: a bounded load on an OpenAI-compatible server, and what it says of its cost."""

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import FiniteRange, Renamed, json_option
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.cli._serving import dollars_of
from crossgrade.errors import UsageError

if TYPE_CHECKING:
    from crossgrade.calls.load import LoadPlan
    from crossgrade.hosting import MeasuredLevel

SCHEMA_VERSION = 1
MOST_CALLS = 20_000
_FEW = 30
"""Answers below which a level's means and 90th percentiles say little."""


@click.command()
@click.option("--endpoint", required=True, metavar="URL", help="Address of the API, often ending in /v1.")
@click.option("--model", required=True, metavar="NAME", help="Model to ask, as the server names it.")
@click.option("--api-key-env", metavar="NAME", help="Environment variable that holds the server's key.")
@click.option("--usd-per-hour", metavar="USD", help="What the whole server costs an hour.")
@click.option(
    "--in-flight",
    "levels",
    multiple=True,
    type=click.IntRange(1, 4096),
    metavar="N",
    help="Requests at once; repeat.  [default: 1 2 4 8 16]",
)
@click.option(
    "--calls",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    metavar="N",
    help="Answers for each request in flight, a level.",
)
@click.option(
    "--seconds",
    type=FiniteRange(1, 3600),
    metavar="SECONDS",
    default=60,
    show_default=True,
    help="Longest a level may take.",
)
@click.option(
    "--input-words",
    type=click.IntRange(1, 1_000_000),
    default=500,
    show_default=True,
    metavar="N",
    help="Words of a prompt.",
)
@click.option(
    "--output-tokens",
    type=click.IntRange(1, 100_000),
    default=128,
    show_default=True,
    metavar="N",
    help="Most tokens of an answer.",
)
@click.option(
    "--output",
    "--save",
    "save",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    cls=Renamed,
    help="Append rows for `crossgrade cost calibrate`; needs --architecture and --gpu.",
)
@click.option("--architecture", metavar="NAME", help="Model by the name that `crossgrade cost host` knows.")
@click.option("--gpu", metavar="NAME", help="Kind of GPU the server runs on.")
@click.option(
    "--gpus",
    type=click.IntRange(1, 4096),
    default=1,
    show_default=True,
    metavar="N",
    help="How many of them.",
)
@click.option(
    "--precision",
    metavar="NAME",
    help="Width of the weights.  [default: as published, or fp8 for wider ones]",
)
@click.option("--kv-bits", type=int, default=8, show_default=True, metavar="N", help="Width of the cache.")
@click.option("--engine", default="vllm", show_default=True, metavar="NAME", help="vllm, sglang or trtllm.")
@json_option
def command(endpoint: str, model: str, *, as_json: bool, **options: Any) -> None:
    """Measure a server: tokens a second, time to first token and between tokens, dollars per million.

    A ladder of requests in flight, each level a closed loop of streamed answers with prompts that
    share no prefix, bounded in calls and seconds. Ctrl-C keeps the levels that are done.
    """
    import asyncio

    from crossgrade.calls.load import LoadPlan

    if not endpoint.startswith(("http://", "https://")):
        raise UsageError(
            f"--endpoint is {endpoint[:80]!r}, which is no address of a server",
            code="endpoint-invalid",
            hint="write it like http://localhost:8000/v1",
        )
    said = options["usd_per_hour"]
    plan = LoadPlan(
        model=model,
        levels=tuple(sorted(set(options["levels"]))) or (1, 2, 4, 8, 16),
        calls_per_slot=options["calls"],
        seconds=options["seconds"],
        input_words=options["input_words"],
        output_tokens=options["output_tokens"],
        usd_per_hour=None if said is None else dollars_of(said, "--usd-per-hour"),
    )
    if plan.most_calls > MOST_CALLS:
        raise UsageError(
            f"that would be {plan.most_calls:,} requests",
            code="too-many-requests",
            hint=f"give at most {MOST_CALLS:,}: fewer --calls or levels",
        )
    if options["save"] is not None:
        _checked_save(options)
    note(f"at most {plan.most_calls:,} requests, {plan.seconds * len(plan.levels):,.0f} s")
    levels: list[MeasuredLevel] = []
    try:
        asyncio.run(_measure(endpoint, plan, options["api_key_env"], levels))
    finally:
        if levels:
            _report(levels, plan, options, endpoint=endpoint, as_json=as_json)


async def _measure(
    endpoint: str, plan: "LoadPlan", api_key_env: str | None, levels: "list[MeasuredLevel]"
) -> None:
    from crossgrade.project import measure_server

    tenth = 0

    def told(in_flight: int, done: int) -> None:
        nonlocal tenth
        now = 10 * done // (in_flight * plan.calls_per_slot)
        if now != tenth:
            tenth = now
            note(f"{in_flight} in flight: {done}/{in_flight * plan.calls_per_slot}")

    async for level in measure_server(endpoint, plan, api_key_env=api_key_env, on_call=told):
        levels.append(level)
        note(
            f"{level.in_flight} in flight: {level.output_tokens_s:,.1f} tokens/s, "
            f"TTFT {level.ttft_ms:,.0f} ms"
        )


def _report(
    levels: "list[MeasuredLevel]", plan: "LoadPlan", options: dict[str, Any], *, endpoint: str, as_json: bool
) -> None:
    if options["save"] is not None:
        _save(levels, options)
        note(f"appended {len(levels)} rows to {options['save']}")
    if as_json:
        print_json(
            {
                "endpoint": endpoint,
                "on": datetime.now(UTC).date(),
                "model": plan.model,
                "usd_per_hour": plan.usd_per_hour,
                "levels": levels,
            },
            schema_version=SCHEMA_VERSION,
        )
        return
    headers = (
        "in flight",
        "answers",
        "errors",
        "in",
        "out",
        "out tok/s",
        "TTFT ms",
        "p90",
        "TPOT ms",
        "p90",
        "$/M both",
        "$/M out",
    )
    rows = [
        (
            level.in_flight,
            level.n,
            level.errors,
            f"{level.input_tokens:,.0f}",
            f"{level.output_tokens:,.0f}",
            f"{level.output_tokens_s:,.1f}",
            f"{level.ttft_ms:,.0f}",
            f"{level.ttft_p90_ms:,.0f}",
            _shown(level.tpot_ms, ",.1f"),
            _shown(level.tpot_p90_ms, ",.1f"),
            _shown(level.usd_per_mtok, ",.3f"),
            _shown(level.usd_per_output_mtok, ",.3f"),
        )
        for level in levels
    ]
    print_table(headers, rows, right=headers)
    few = [level.in_flight for level in levels if level.n < _FEW]
    note(
        f"{plan.model} at {endpoint} on {datetime.now(UTC).date()}: means over answers, and the 90th"
        f" percentiles beside them; tokens as the server counts them{_rent(plan)}",
        code="measured",
    )
    if few:
        note(
            f"fewer than {_FEW} answers at {', '.join(map(str, few))} in flight: their figures would"
            " differ next time; raise `--calls`",
            code="few-answers",
        )
    if plan.usd_per_hour is None:
        note("no price: give --usd-per-hour, what the whole server costs an hour", code="price-unknown")


def _rent(plan: "LoadPlan") -> str:
    return "" if plan.usd_per_hour is None else f"; ${plan.usd_per_hour} an hour for the whole server"


def _shown(value: float | None, shape: str) -> str | None:
    return None if value is None else f"{value:{shape}}"


def _checked_save(options: dict[str, Any]) -> None:
    from crossgrade.hosting import Deployment, default_precision, known_gpu, known_model

    if options["architecture"] is None or options["gpu"] is None:
        raise UsageError(
            "rows for `crossgrade cost calibrate` name the model and the GPU",
            code="measurement-unlabelled",
            hint="add --architecture and --gpu",
        )
    options["precision"] = options["precision"] or default_precision(known_model(options["architecture"]))
    Deployment(
        gpu=known_gpu(options["gpu"]),
        precision=options["precision"],
        engine=options["engine"],
        kv_bits=options["kv_bits"],
    )


def _save(levels: "list[MeasuredLevel]", options: dict[str, Any]) -> None:
    from crossgrade.hosting import known_model
    from crossgrade.workloads.files import whole_file

    path: Path = options["save"]
    fresh = not path.is_file() or not path.stat().st_size
    with whole_file(path, append=True) as file:
        writer = csv.writer(file, lineterminator="\n")
        if fresh:
            writer.writerow(
                (
                    "model",
                    "hardware",
                    "backend",
                    "precision",
                    "tp",
                    "kv_bits",
                    "isl",
                    "osl",
                    "concurrency",
                    "out_tok_s_gpu",
                    "ttft_ms",
                )
            )
        for level in levels:
            writer.writerow(
                (
                    known_model(options["architecture"]).name,
                    options["gpu"].lower(),
                    options["engine"],
                    options["precision"],
                    options["gpus"],
                    options["kv_bits"],
                    round(level.input_tokens, 1),
                    round(level.output_tokens, 1),
                    level.in_flight,
                    round(level.output_tokens_s / options["gpus"], 3),
                    round(level.ttft_ms, 1),
                )
            )
