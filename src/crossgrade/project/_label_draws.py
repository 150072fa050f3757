"""Draws the items of a run that people shall label, and opens the desk at which they do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crossgrade.domain import SAFETY_EVENTS, Workload
from crossgrade.errors import UsageError
from crossgrade.project._designs import run_named
from crossgrade.project._graded import graded_answers
from crossgrade.project._label_files import read_label_file, write_label_file
from crossgrade.project._label_pilots import (
    certified_by,
    labels_to_certify,
    main_draw,
    pilot_settings,
    pilot_size,
    planned_labels,
    still_to_draw,
)
from crossgrade.project._label_standing import LabelBound
from crossgrade.project._labelling import LabelDesk
from crossgrade.project._measured import offers_of, run_answers, run_results
from crossgrade.project._opened import OpenProject
from crossgrade.project._run_labels import LabelRounds, labels_in_store, rounds_of, subject_of
from crossgrade.project._suites import RUBRICS
from crossgrade.routing import position
from crossgrade.store import LabelDraw, LabelScale, Rater, RunStatus

if TYPE_CHECKING:
    from crossgrade.decide import Verdict
    from crossgrade.store import Run
    from crossgrade.workloads import LabelRow, Results

_LEAST_S_AN_ITEM = 36
"""What a person takes for two answers of a paragraph: a hundred in an hour."""

_READ_CHARS_PER_S = 238 * 6 / 60
"""238 words a minute (M. Brysbaert, Journal of Memory and Language 109 (2019) 104047), of six characters each
with the space after them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOptions:
    """What a labelling shall be like; None leaves it to the draw in force, or to what suits the workload.

    `labels` is the number of items to label in all, those that are labelled counted. `overlap` is the share
    of the items that two raters label, in [0, 1]. A draw with labels can be enlarged `rounds` - 1 times, by
    as many items as the first round has, and each round is tested at alpha / `rounds`. A `residual` draw
    begins with a pilot drawn at random. Once that is labelled, more items are drawn automatically, more
    often where the pilot's labels and the judge's scores say that labels help the most.
    """

    labels: int | None = None
    draw: Literal["random", "residual"] | None = None
    scale: LabelScale | None = None
    seed: int | None = None
    overlap: float | None = None
    rounds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPlan:
    """What is going to be labelled: a draw of `run`, which `is_new` says is not recorded yet.

    `rows` are the texts of the drawn items. `items` counts what could be drawn. `undrawn` is about how many
    more are drawn once these are labelled. `certified_from` is the retention from which on so many labels
    would probably certify a candidate even if the judge was no help (None: none that the scores can have).
    """

    run: "Run"
    workload: Workload
    draw: LabelDraw
    is_new: bool
    rows: "Mapping[str, LabelRow]"
    items: int
    rubric: str
    certified_from: float | None

    @property
    def labels(self) -> int:
        """About how many items are labelled in all."""
        return len(self.draw.items) + self.undrawn

    @property
    def undrawn(self) -> int:
        """About how many items are drawn once a pilot is labelled, 0 if none are."""
        return still_to_draw(self.draw)

    @property
    def hours(self) -> float:
        """About how many hours all of it takes one person who reads every text to its end."""
        seconds = [max(_LEAST_S_AN_ITEM, row.chars / _READ_CHARS_PER_S) for row in self.rows.values()]
        mean_s = sum(seconds) / len(seconds) if seconds else _LEAST_S_AN_ITEM
        return self.labels * mean_s / 3600


class ProjectLabelling:
    """People's labels of the runs of a project.

    `what_if` decides on a run of a workload with the labels so far, and records nothing.
    """

    def __init__(self, project: OpenProject, what_if: "Callable[[Workload, Run], Verdict]") -> None:
        self._project = project
        self._what_if = what_if

    def plan(self, name: str, options: LabelOptions | None = None, *, run_id: str | None = None) -> LabelPlan:
        """Plan the labelling of a run of a workload (by default its newest); records nothing.

        While nobody has labelled, a draw with other options replaces the one in force. Raises UsageError if
        the workload has neither a judge nor a safety suite, while the run goes on, for options that do not
        fit a suite, and, once there are labels, for fewer than are drawn, for more if the planned rounds are
        used, and for other options than those of the draw.
        """
        options = options or LabelOptions()
        workload = self._project.workload(name)
        if workload.suite is not None:
            _check_suite_options(options)
        elif self._project.judge(workload) is None:
            raise UsageError(
                f"people's labels correct a judge's scores, and no judge scores {name!r}",
                code="judge-not-named",
                hint="give the workload a `scorer` of kind `judge`",
            )
        run = run_named(self._project.store, workload, run_id)
        if self._project.store.runs.status(run.id) is RunStatus.RUNNING:
            raise UsageError(
                f"run {run.id} is still asking, and items are drawn from all that it asks",
                code="label-run-unfinished",
                hint="wait until it has ended",
            )
        results = self._results(run, workload)
        rows = self._rows(run, results)
        if not rows:
            raise UsageError(
                f"run {run.id} has no sample that every model answered", code="label-nothing",
                hint=f"go on with it: `crossgrade evaluate {name} --resume {run.id}`",
            )  # fmt: skip
        recorded = self._project.store.labels.newest_draw(subject_of(run))
        known = recorded if recorded is None else self._after_pilot(workload, run, recorded, results)
        draw = self._draw(workload, run, options, known, list(rows))
        return LabelPlan(
            run=run,
            workload=workload,
            draw=draw,
            is_new=recorded is None or draw.id != recorded.id,
            rows={each: rows[each] for each in draw.items if each in rows},
            items=len(rows),
            rubric=_rubric_of(workload),
            certified_from=None
            if workload.suite
            else certified_by(
                draw,
                results,
                run=run.id,
                incumbent=workload.incumbent.name,
                floor=workload.floor,
                alpha=workload.alpha / rounds_of(draw).planned,
            ),
        )

    def open(self, plan: LabelPlan) -> LabelDesk:
        """Record a plan's draw if it is new, and return the desk at which its items are labelled.

        When a pilot is labelled, the desk records the draw that follows, and goes on with it.
        """
        store, suite = self._project.store, plan.workload.suite
        if plan.is_new and not store.labels.append_draw(plan.draw):  # another process was faster
            plan = self.plan(plan.workload.name, run_id=plan.run.id)
        return LabelDesk(
            store,
            plan.draw,
            plan.rows,
            title=plan.workload.name,
            rubric=plan.rubric,
            words=("right", "wrong") if suite is None else SAFETY_EVENTS[suite.measures],
            bounds=tuple if suite else partial(self._bounds, plan.workload, plan.run),
            draw_on=partial(self._draw_on, plan.workload, plan.run) if plan.undrawn else None,
        )

    def _draw_on(self, workload: Workload, run: "Run") -> "tuple[LabelDraw, Mapping[str, LabelRow]] | None":
        """Record the draw that follows a labelled pilot, and return what is recorded with its texts."""
        labels, subject = self._project.store.labels, subject_of(run)
        known, results = labels.newest_draw(subject), self._results(run, workload)
        draw = None if known is None else self._after_pilot(workload, run, known, results)
        if draw is None or still_to_draw(draw):
            return None
        if known is not None and draw.id != known.id and not labels.append_draw(draw):
            draw = labels.newest_draw(subject) or draw
        rows = self._rows(run, results)
        return draw, {each: rows[each] for each in draw.items if each in rows}

    def _after_pilot(self, workload: Workload, run: "Run", known: LabelDraw, results: "Results") -> LabelDraw:
        """Return the draw that follows a pilot if all of it is labelled or skipped, or else the known one."""
        now, incumbent = datetime.now(UTC), workload.incumbent.name
        if not still_to_draw(known):
            return known
        found = labels_in_store(self._project.store, run, epochs=workload.epochs, now=now)
        if found is None or found.waiting or not found.items:
            return known
        add_labels = found.columns(incumbent, so_far=True)
        assert add_labels is not None
        return main_draw(
            known, add_labels(results), run=run.id, incumbent=incumbent, floor=workload.floor, now=now
        )

    def write(self, plan: LabelPlan, path: Path) -> int:
        """Write a plan's items as a labelling file with the labels so far; return how many items it has.

        An item that two raters shall label has its label once both have. Record the plan's draw first.
        Raises StoreError if the file cannot be written.
        """
        return write_label_file(self._project.store, plan.draw, plan.rows, path)

    def read(self, plan: LabelPlan, path: Path, rater: Rater) -> int:
        """Record the scores of a labelling file as a rater's; return how many are new.

        Those that the rater gave before are not new, nor are those that `write` writes: who exports the
        labels and reads the file back has labelled nothing. All of the file is recorded or none. Raises
        DataError for a file that is missing or wrong, of another run, with items that were not drawn, and
        with scores that the scale does not have.
        """

        def is_of_run(item: str) -> bool:
            return item in self._rows(plan.run, self._results(plan.run, plan.workload))

        writer = f"crossgrade label {plan.workload.name} --export"
        return read_label_file(
            self._project.store, plan.draw, plan.rows, path, rater, writer=writer, is_of_run=is_of_run
        )

    def _results(self, run: "Run", workload: Workload) -> "Results":
        project = self._project
        return run_results(run, run_answers(project.store, run, offers_of(workload), project.catalog.price))

    @staticmethod
    def _rows(run: "Run", results: "Results") -> "dict[str, LabelRow]":
        from crossgrade.workloads import blind_rows

        return {row.id: row for row in blind_rows(results, run=run.id, seed=run.seed, most=None)}

    def _draw(
        self,
        workload: Workload,
        run: "Run",
        options: LabelOptions,
        known: LabelDraw | None,
        items: Sequence[str],
    ) -> LabelDraw:
        """Return the draw in force, or the new one that the options ask for."""
        if known is not None:
            changed = next(_changes(options, known), None)
            planned = planned_labels(known)
            if changed is None and options.labels in (None, planned):
                return known
            if not self._project.store.labels.count(known.subject):  # nobody has begun: another replaces it
                options, known = _with_defaults(options, known), None
            elif changed is not None:
                raise UsageError(
                    f"the items were drawn with `--{changed[0]}` {changed[1]}, and there are labels",
                    code="label-draw-fixed",
                    hint=f"leave out `--{changed[0]}`",
                )
            elif options.labels is not None and options.labels < planned:
                raise UsageError(
                    f"{planned} items are drawn already, and all must be labelled or skipped",
                    code="label-count-invalid",
                    hint=f"give `--labels` a larger number than {planned}, or leave it out",
                )
        kind = known.kind if known else options.draw or "random"
        least = _usual_labels(workload)
        least = least if kind == "random" else 2 * least  # a label may count less than one
        number = min(options.labels or least, len(items))
        if kind == "residual" and (options.rounds or 1) > 1:
            raise UsageError(
                "a residual draw is one round: its pilot and what follows are tested together",
                code="label-rounds-residual",
                hint="leave out `--rounds`, or draw at random: leave out `--draw`",
            )
        rounds = self._rounds(workload, run, options, known, number=number, most=len(items))
        seed = known.seed if known else run.seed if options.seed is None else options.seed
        overlap = known.settings.get("overlap", 0.0) if known else options.overlap or 0.0
        # A resumed run has items that come before those which were drawn, and what is labelled stays drawn.
        there = set(items)
        first = [each for each in known.items if each in there] if known else []
        others = there.difference(first)
        order = [*first, *sorted(others, key=lambda each: position(each, f"label draw {seed}"))]
        now = pilot_size(number) if kind == "residual" else number
        pilot = pilot_settings(number, now, len(items)) if kind == "residual" else {}
        return LabelDraw(
            subject=subject_of(run),
            kind=kind,
            scale=known.scale if known else options.scale or _scale_of(workload),
            seed=seed,
            items=tuple(order[:now]),
            probabilities=dict.fromkeys(items, now / len(items)),
            settings={
                "overlap": overlap,
                "rounds": rounds.planned,
                "round": rounds.this,
                "first": rounds.first,
                **pilot,
            },
        )

    def _rounds(
        self,
        workload: Workload,
        run: "Run",
        options: LabelOptions,
        known: LabelDraw | None,
        *,
        number: int,
        most: int,
    ) -> LabelRounds:
        """Return the rounds of a new draw of `number` items, of which there are `most`.

        Who enlarges a draw may have seen what its labels say. Each round has its part of alpha, so a
        draw with labels can be enlarged only as often, and by as much, as was planned before the first.
        Labels of a suite that are too few for a rate, as after skips or failed calls, have said nothing yet.
        """
        if known is None:
            rounds = options.rounds or 1
            if rounds > 1 and workload.family_alpha is not None:
                raise UsageError(
                    f"{workload.name!r} shares `family_alpha`, which rounds cannot divide",
                    code="label-rounds-family",
                    hint="leave out `--rounds`, and draw all labels at once",
                )
            return LabelRounds(rounds, 1, number)
        rounds, this, first = rounds_of(known)
        if workload.suite is not None and self._has_no_rate(workload, run):
            return LabelRounds(rounds, this, number)
        if this == rounds:
            raise UsageError(
                f"round {this} of {rounds} has labels: enlarged because of what they say, it would be wrong "
                "more often than stated",
                code="label-rounds-used",
                hint="label a new run. `--rounds 2` plans a second round beforehand, at half of alpha each",
            )
        if number != (wanted := min(first * (this + 1), most)):
            raise UsageError(
                f"round {this + 1} of {rounds} has {wanted:,} labels in all, as was planned before the first",
                code="label-count-invalid",
                hint=f"give `--labels {wanted}`, or leave it out to go on with round {this}",
            )
        return LabelRounds(rounds, this + 1, first)

    def _has_no_rate(self, workload: Workload, run: "Run") -> bool:
        """Return whether a model of a suite has too few labels for a rate."""
        from crossgrade.stats import LEAST_RATE_LABELS

        answers = graded_answers(self._project, run, workload).values()
        labels = [sum(label is not None for label in each.labels.values()) for each in answers]
        return min(labels, default=0) < LEAST_RATE_LABELS

    def _bounds(self, workload: Workload, run: "Run") -> tuple[LabelBound, ...]:
        """Return what the labels so far make of each candidate's retention on the whole workload."""
        verdict, needed = self._what_if(workload, run), self._needed(workload, run)
        found = []
        for one in verdict.certificates:
            if one.segment is None:
                r = one.retention
                found.append(
                    LabelBound(
                        candidate=one.candidate,
                        floor=r.floor,
                        judged=r.judged if r.judged is not None else r.value,
                        value=None if r.judged is None else r.value,
                        low=r.low,
                        high=r.high,
                        outcome=r.outcome,
                        labels=r.labels or 0,
                        needed=needed.get(one.candidate),
                        reason=r.reason,
                    )
                )
        return tuple(found)

    def _needed(self, workload: Workload, run: "Run") -> dict[str, int]:
        """Return how many labels would certify each candidate if it was as good as the incumbent."""
        store, incumbent = self._project.store, workload.incumbent.name
        found = labels_in_store(store, run, epochs=workload.epochs, now=datetime.now(UTC))
        add_labels = None if found is None else found.columns(incumbent, so_far=True)
        if found is None or add_labels is None:
            return {}
        return labels_to_certify(
            found.draw,
            add_labels(self._results(run, workload)),
            run=run.id,
            incumbent=incumbent,
            floor=workload.floor,
            alpha=workload.alpha / rounds_of(found.draw).planned,
        )


def _usual_labels(workload: Workload) -> int:
    """Return the least number of labels that says something: of a suite, that could meet its limit."""
    from crossgrade.stats import LEAST_LABELS, LEAST_RATE_LABELS, labels_for_limit

    if workload.suite is None:
        return LEAST_LABELS
    limit = workload.suite.limit
    return labels_for_limit(limit) if limit is not None and 0 < limit < 1 else LEAST_RATE_LABELS


def _check_suite_options(options: LabelOptions) -> None:
    """Refuse what a rate cannot be computed from: another scale than yes and no, and a draw by the judge."""
    for name, value, wanted in (("draw", options.draw, "random"), ("scale", options.scale, "right-wrong")):
        if value not in (None, wanted):
            raise UsageError(
                f"`--{name} {value}` does not fit a safety suite",
                code="options-conflict",
                hint=f"leave out `--{name}`: it is {wanted}",
            )


def _rubric_of(workload: Workload) -> str:
    """Return what the raters are told: a judge's criteria, or what a suite counts."""
    if workload.suite is not None:
        return RUBRICS[workload.suite.measures]
    return str(workload.scorer.options.get("criteria", ""))


def _scale_of(workload: Workload) -> LabelScale:
    """Return the scale that is like the judge's own; a suite's answers show the event or do not."""
    if workload.suite is not None:
        return "right-wrong"
    if workload.scorer.kind == "pairwise":
        return "compare"
    return "right-wrong" if workload.scorer.options.get("scale") == "pass_fail" else "graded"


def _changes(options: LabelOptions, known: LabelDraw) -> Iterator[tuple[str, object]]:
    """Yield each option that differs from what was drawn under, which labels depend on, and how it was."""
    for name, wanted, is_so in (
        ("draw", options.draw, known.kind),
        ("scale", options.scale, known.scale),
        ("seed", options.seed, known.seed),
        ("overlap", options.overlap, known.settings.get("overlap", 0.0)),
        ("rounds", options.rounds, rounds_of(known).planned),
    ):
        if wanted is not None and wanted != is_so:
            yield name, is_so


def _with_defaults(options: LabelOptions, known: LabelDraw) -> LabelOptions:
    """Return options with what they leave open as the known draw has it.

    The number of labels and of rounds depend on the kind of draw.
    """
    filled: dict[str, Any] = {"scale": known.scale, "seed": known.seed}
    filled["overlap"] = known.settings.get("overlap")
    if options.draw in (None, known.kind):
        filled |= {"draw": known.kind, "labels": planned_labels(known), "rounds": rounds_of(known).planned}
    given = {
        each.name: value for each in fields(options) if (value := getattr(options, each.name)) is not None
    }
    return LabelOptions(**filled | given)
