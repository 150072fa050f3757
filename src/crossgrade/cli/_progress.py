"""How a run is shown while it goes on: a live line on a terminal, a plain one every tenth elsewhere."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crossgrade.cli._interrupt import ends_at_second_interrupt
from crossgrade.cli._output import is_quiet, note, shows_progress

if TYPE_CHECKING:
    from crossgrade.evaluate import Progress
    from crossgrade.stats import Retention
    from crossgrade.workloads.traffic import LogPart, ReadPart, Run


MOST_SHOWN = 12
"""Candidates or segments whose retention is shown while a run goes on."""


@contextmanager
def followed(name: str, resume: str, *, by_id: bool = True) -> Iterator["Callable[[Progress], None]"]:
    """Show the progress of a run; a second Ctrl-C ends it like a kill.

    `resume` is the command that continues a run that an error or Ctrl-C ended, with the id of the run unless
    it finds it out itself (`by_id`).
    """
    from crossgrade.evaluate import GRACE_S

    run_ids: set[str] = set()
    with ends_at_second_interrupt(GRACE_S) as arm, shown_progress(name) as show:

        def on_progress(progress: "Progress") -> None:
            if not run_ids:
                arm()
            run_ids.add(progress.run_id)
            show(progress)

        try:
            yield on_progress
        except BaseException:
            for run_id in run_ids:
                which = f" --resume {run_id}" if by_id else ""
                note(f"go on where it stopped: {resume}{which}", code="resume")
            raise


@contextmanager
def shown_progress(name: str) -> Iterator["Callable[[Progress], None]"]:
    """Return a function that shows a run's progress on stderr."""
    if not shows_progress():
        yield _plain(name)
        return
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    bar, live = Bar(*columns), Text()
    row = bar.add_task(name, total=None, state="")
    # Retention has lines of its own: beside the counts it would leave them no room on 80 columns.
    # The bar goes when the run ends: what stays is the line that says how it ended.
    with Live(Group(bar, live), console=Console(stderr=True), transient=True):

        def show(progress: "Progress") -> None:
            bar.update(row, completed=progress.asked, total=progress.planned, state=_counts(progress))
            live.plain = f"  {_live(progress.live)}" if progress.live else ""

        yield show


def _plain(name: str) -> "Callable[[Progress], None]":
    if is_quiet():
        return lambda _progress: None
    tenths = 0

    def show(progress: "Progress") -> None:
        nonlocal tenths
        now = 10 * progress.done // max(1, progress.planned)
        if now > tenths:
            tenths = now
            note(f"{name}: {_asked(progress)} · {_state(progress)}", code="progress")

    return show


def _asked(progress: "Progress") -> str:
    """Return how many of the planned samples were asked, and how many no longer need an answer."""
    spared = progress.done - progress.asked
    asked = f"{progress.asked:,} of {progress.planned:,} samples asked"
    return f"{asked}, {spared:,} not needed" if spared else asked


def _state(progress: "Progress") -> str:
    counts = _counts(progress)
    return f"{_live(progress.live)} · {counts}" if progress.live else counts


def _counts(progress: "Progress") -> str:
    parts = []
    if progress.in_batches:
        parts.append(f"{progress.in_batches} in batches")
    if progress.errors:
        parts.append(f"{progress.errors} errors")
    cost = f"${progress.spent_usd:.4f}"
    parts.append(f"{cost} and {progress.unknown_costs} unknown" if progress.unknown_costs else cost)
    if progress.calls_saved:
        parts.append(f"{progress.calls_saved} calls saved")
    return " · ".join(parts)


def _live(live: "Mapping[str, Retention]") -> str:
    """The retention so far of each candidate, or of one candidate on each segment."""
    heads = {name.partition(" on ")[0] for name in live}
    shared = f"{heads.pop()} on " if len(heads) == 1 and len(live) > 1 else ""
    parts = []
    for name, retention in live.items():
        if retention.value is not None:
            parts.append(f"{name.removeprefix(shared)} {retention.value:.3f}{_span(retention)}")
    more = f" and {len(parts) - MOST_SHOWN} more" if len(parts) > MOST_SHOWN else ""
    return f"retention {', '.join(parts[:MOST_SHOWN])}{more}" if parts else "retention not known yet"


def _span(retention: "Retention") -> str:
    """Return the bound that agrees with how the test came out, or both while it is open."""
    from crossgrade.decide import bound

    if retention.judge_alone:
        return " by the judge alone"
    low, high, floor = retention.low, retention.high, retention.floor
    if low is None or high is None:
        return ""
    if retention.outcome == "pass":
        return f" (≥ {bound(low, floor, up=False)})"
    above = "∞" if math.isinf(high) else bound(high, floor, up=True)
    if retention.outcome == "fail":
        return f" (≤ {above})"
    return f" ({bound(low, floor, up=False)} to {above})"


@contextmanager
def reading_elsewhere(jobs: int | None, cluster: str | None) -> Iterator["Run"]:
    """Return what reads the parts of a log, with a bar.

    They are read in `jobs` processes (None: one for each core), or on the nodes of a `cluster` of Ray.
    """
    from crossgrade.providers.cores import usable_cores
    from crossgrade.workloads.traffic import in_processes

    if cluster is not None:
        from crossgrade.project import on_ray

        with on_ray(cluster) as nodes:
            yield _with_bar(nodes.read)
        return
    with in_processes(usable_cores() if jobs is None else jobs) as run:
        yield _with_bar(run)


def _with_bar(run: "Run") -> "Run":
    if not shows_progress():
        return run

    def shown(function: "Callable[[LogPart], ReadPart]", parts: "Iterable[LogPart]") -> "Iterator[ReadPart]":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        waiting = list(parts)
        columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            yield from bar.track(run(function, waiting), total=len(waiting))

    return shown
