"""`crossgrade cost calibrate`: fit the serving model to measurements, and print how far off it is."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import json_option
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.cli._serving import bounded_bytes
from crossgrade.errors import DataError, UsageError

if TYPE_CHECKING:
    from crossgrade.hosting import GroupError, ServingFit

SCHEMA_VERSION = 1
MAX_TABLE_BYTES = 64 * 2**20


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--shipped", is_flag=True, help="Fit the constants that ship, on the measurements that ship.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the fit here, for --fit.",
)
@json_option
def command(file: Path | None, output: Path | None, *, shipped: bool, as_json: bool) -> None:
    """Refit the serving model to the measurements in FILE, a CSV table.

    The shipped constants are where the fit starts and what draws it, so that few points move it
    little. Columns: model, hardware, precision, tp, isl, osl, concurrency, out_tok_s_gpu; also
    backend, kv_bits, attn_dp, moe_ep, family, tpot_limit_ms, ttft_ms. `crossgrade cost measure --output`
    writes one.
    """
    if (file is None) != shipped:
        raise UsageError(
            "no measurements are named",
            code="measurements-not-named",
            hint="give a FILE, or --shipped for those that ship",
        )
    today = datetime.now(UTC).date()
    import msgspec

    from crossgrade.hosting import (
        fit_serving,
        known_gpus,
        known_models,
        read_measurements,
        refit_serving,
        shipped_fit,
        shipped_measurements,
    )
    from crossgrade.report import write_json

    models, gpus = known_models(), known_gpus()
    if file is None:
        fit = fit_serving(shipped_measurements(), models, gpus, on=today)
        changes: tuple[GroupError, ...] = ()
    else:
        points = read_measurements(_text(file), file=str(file))
        fit, before, after = refit_serving(shipped_fit(), points, models, gpus, on=today)
        changes = (before, after)
    if output is not None:
        write_json(output, _rounded(msgspec.to_builtins(fit)), indent=1)
    if as_json:
        print_json({"fit": fit, "errors": changes}, schema_version=SCHEMA_VERSION)
        return
    _show(fit, changes)
    if output is not None:
        note(f"wrote {output}; use it with `crossgrade cost host MODEL --fit {output}`")


def _text(file: Path) -> str:
    try:
        return bounded_bytes(file, MAX_TABLE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError("not UTF-8 text", code="not-utf8", file=file) from None


def _rounded(value: Any) -> Any:
    """Keep six digits: the rest of a fit is noise of the machine that made it."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def _show(fit: "ServingFit", changes: "tuple[GroupError, ...]") -> None:
    headers = ("left out", "group", "points", "median error", "p90", "bias")
    rows = (
        []
        if changes
        else [(each.grouping, *_cells(group)) for each in fit.validations for group in each.groups]
    )
    rows += [("own points", *_cells(change)) for change in changes]
    print_table(headers, rows, right=headers[2:])
    if not changes:
        first = fit.validations[0]
        note(
            f"{fit.n} points; by {first.grouping}, unseen: median {first.median:.1%}, p90 {first.p90:.1%},"
            f" worst group's median {first.worst_median:.1%}; {first.coverage:.1%} of points in the 80 % band"
        )
    for name, spread in (("throughput", fit.throughput), ("TTFT", fit.first_token)):
        low, high = spread.typical
        wider = ", wider or narrower by GPU, engine and load" if spread.widths else ""
        note(f"band of {name}: measured is {low:.3f} to {high:.3f} times predicted{wider}")
    names = (f"{name} {getattr(fit.constants, name):.4g}" for name in fit.constants.__dataclass_fields__)
    note("constants: " + ", ".join(names))


def _cells(group: "GroupError") -> tuple[str, ...]:
    return (
        group.name,
        f"{group.n:,}",
        f"{group.median:.1%}",
        f"{group.p90:.1%}",
        f"{group.bias:+.2f}",
    )
