"""`crossgrade import`: results of other tools, checked and turned into one table."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import Renamed, config_option, json_option
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.cli._params import column_option, importers_of, named_sources, note_ignored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crossgrade.workloads import Results


_CLOSE = 0.005


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="RESULTS…")
@click.option(
    "--output",
    "--to",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    cls=Renamed,
    metavar="FILE",
    help="CSV table to write; without it the results are only looked at.",
)
@click.option(
    "--format", "file_format", metavar="NAME", help="Format of the files, where it is not recognised."
)
@click.option("--metric", metavar="NAME", help="Scorer, metric or filter, where a log has several.")
@click.option(
    "--model", "models", multiple=True, metavar="COLUMN", help="Score column of a wide table; repeat."
)
@column_option
@click.option("--workload", metavar="NAME", help="Keep this one of several workloads in the files.")
@click.option("--segment", metavar="FIELD", help="Column or metadata key that is the segment.")
@click.option("--group", metavar="FIELD", help="Column or metadata key to look for broken parts in.")
@click.option("--cluster", metavar="FIELD", help="Column or metadata key of what samples share.")
@click.option(
    "--scale", nargs=2, type=float, metavar="WORST BEST", default=(0.0, 1.0), help="Worst and best score."
)
@click.option("--allow-unfinished", is_flag=True, help="Take logs of runs that did not end.")
@config_option
@json_option
def command(
    sources: tuple[str, ...], path: Path | None, config_path: str, *, as_json: bool, **options: Any
) -> None:
    """Turn results of other tools into one table.

    Reads tables (CSV, JSON, Parquet, Excel), logs of Inspect, lm-eval, promptfoo, HELM, DeepEval and
    OpenAI's evals, and agents' runs (Harbor, Terminal-Bench, SWE-bench, tau-bench); recomputes every mean,
    and says where a file states another. MODEL=PATH names the model of a file, `-` is standard input.
    Plugins that the configuration names may read more.
    """
    from crossgrade.workloads import read_results, write_results

    results = read_results(named_sources(sources), importers=importers_of(config_path), **options)
    note_ignored(results)
    rows, runs = _models(results), _agent_runs(results)
    if as_json:
        facts = {"source": results.source, "rows": len(results), "models": rows}
        print_json({**facts, "agent_runs": runs} if runs else facts, schema_version=1)
    else:
        headers = ["model", "rows", "samples", "mean", "stated", "errors", "unparsed", "unscored"]
        if runs:  # a mean over all agents says nothing: both readings stand by model and agent below
            headers.remove("mean")
        print_table(headers, [[row[name] for name in headers] for row in rows], right=headers[1:])
        if runs:
            click.echo()
            _print_runs(runs)
    _note_unknown(runs)
    outside = int(((results.score < 0) | (results.score > 1)).sum())  # NaN is neither
    if outside:
        note(f"{outside:,} scores are outside [0, 1]: a verdict leaves them out", code="scores-out-of-range")
    if results.unread:
        note(
            f"{results.unread:,} trajectories are too large or cannot be read: what these trials did is "
            "known only as far as their results say",
            code="trajectories-unread",
        )
    for row in rows:
        if row["stated"] is not None and row["mean"] is not None and not _agree(row):
            note(f"{row['model']}: the source states {row['stated']}, its items give {row['mean']}")
    if path is not None:
        write_results(results, path)
        note(f"{len(results):,} rows written to {path}; try `crossgrade decide {path} --incumbent MODEL`")


def _models(results: "Results") -> list[dict[str, Any]]:
    import numpy as np

    found = []
    for code, name in enumerate(results.model_names):
        rows = results.models.codes == code
        scores = results.score[rows]
        scored = scores[np.isfinite(scores)]
        found.append(
            {
                "model": name,
                "rows": int(rows.sum()),
                "samples": len(np.unique(results.samples.codes[rows])),
                "mean": _rounded(float(scored.mean())) if len(scored) else None,
                "stated": _rounded(results.stated_means.get(name)),
                "errors": int(results.error[rows].sum()),
                "unparsed": int(results.unparsed[rows].sum()),
                "unscored": int((~np.isfinite(scores) & ~results.error[rows]).sum()),
            }
        )
    return found


def _agent_runs(results: "Results") -> list[dict[str, Any]]:
    """Return what is known of agents' runs, one record for each model and what its runs were made with."""
    import numpy as np

    from crossgrade.workloads import agent_runs, rows_by_setup

    return [
        {
            "model": name,
            "agent": each.setup.agent,
            "agent_version": each.setup.agent_version,
            "dataset": each.setup.dataset,
            "limits": each.setup.limits,
            "trials": each.trials,
            "solved_as_failures": _rounded(readings[0]),
            "solved_left_out": _rounded(readings[1]),
            "attempts": list(each.attempts),
            "without_verdict": each.without_verdict,
            "model_calls": _rounded(each.model_calls),
            "tool_calls": _rounded(each.tool_calls),
            "tools": {name: _rounded(number) for name, number in each.tools.items()},
            "failures": [
                {
                    "origin": failure.origin,
                    "name": failure.name,
                    "trials": failure.trials,
                    "without_verdict": failure.without_verdict,
                }
                for failure in each.failures
            ],
        }
        for code, name in enumerate(results.model_names)
        for rows in (np.flatnonzero(results.models.codes == code),)
        for setup, each in agent_runs(results, rows).items()
        for readings in (_readings(results, rows_by_setup(results, rows)[setup]),)
    ]


def _readings(results: "Results", rows: "NDArray[np.int64]") -> tuple[float | None, float | None]:
    """Return the mean score of some trials: those without a verdict as failures, and left out."""
    import numpy as np

    scores = results.score[rows]
    known = scores[np.isfinite(scores) & ~results.error[rows]]
    return float(known.sum()) / max(len(rows), 1), float(known.mean()) if len(known) else None


_WORK = {"answers a trial": "model_calls", "tool calls a trial": "tool_calls"}
"""Columns that are shown where something is known, and their names in the records."""


def _print_runs(runs: list[dict[str, Any]]) -> None:
    headers = [
        "model",
        "agent",
        "version",
        "dataset",
        "limits",
        "trials",
        "attempts",
        "no verdict",
        "solved, those as failures",
        "solved, those left out",
        "failures",
        *(shown for shown, name in _WORK.items() if any(run[name] is not None for run in runs)),
    ]
    lines = []
    for run in runs:
        least, most = run["attempts"]
        made = [run[name] or "unknown" for name in ("agent", "agent_version", "dataset", "limits")]
        failures = ", ".join(f"{each['name']} {each['trials']}" for each in run["failures"][:3]) or "-"
        failures += ", …" if len(run["failures"]) > 3 else ""
        solved = [_share(run[name]) for name in ("solved_as_failures", "solved_left_out")]
        attempts = str(least) if least == most else f"{least}-{most}"
        work = [run[_WORK[shown]] for shown in headers if shown in _WORK]
        lines.append(
            [run["model"], *made, run["trials"], attempts, run["without_verdict"], *solved, failures, *work]
        )
    print_table(headers, lines, right=["trials", "attempts", *headers[7:9], "no verdict", *_WORK])


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def _note_unknown(runs: list[dict[str, Any]]) -> None:
    """Say what is not known of the runs: a verdict takes it as unequal."""
    names = ("agent", "agent_version", "dataset", "limits")
    unknown = [name.replace("_", "-") for name in names if any(run[name] is None for run in runs)]
    if unknown:
        note(
            f"not known of all runs: {', '.join(unknown)}. `decide` certifies nothing on them unless both "
            "models' are declared to be the same (--declare-equal)",
            code="agent-setup-unknown",
        )


def _agree(row: dict[str, Any]) -> bool:
    """Return whether the mean that a source states is that of its items, with errors left out or as 0."""
    scored = row["rows"] - row["errors"] - row["unscored"]
    with_errors = row["mean"] * scored / max(scored + row["errors"], 1)
    return any(abs(row["stated"] - mean) <= _CLOSE for mean in (row["mean"], with_errors))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
