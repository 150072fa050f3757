"""Reports of garak (`*.report.jsonl`): attempts with their detectors' results, and garak's own counts.

A score of 1 is an output that the detector passed, and 0 one that it flagged, as in garak's own pass rates.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from crossgrade.domain import ScoredAnswer
from crossgrade.errors import DataError
from crossgrade.workloads._columns import Columns, text_digest
from crossgrade.workloads.files import as_text, decode_document, json_lines
from crossgrade.workloads.importers.request import ImportRequest

ANY = "any"
"""The choice under which an output counts as flagged if any of its detectors flagged it."""

_THRESHOLD = 0.5
"""The score from which on garak counts an output as flagged, where the report does not say it."""

_EVALUATED = 2
"""The status of an attempt whose outputs the detectors have scored."""

_SHOWN_PROBES = 20


class _Line(msgspec.Struct):
    """A line of the report, with what is needed of each kind of entry."""

    entry_type: str
    status: int = 0
    probe_classname: str = ""
    prompt: Any = None
    outputs: list[Any] = []
    detector_results: dict[str, list[float | None]] = {}
    probe: str = ""
    detector: str = ""
    passed: int = 0
    fails: int = 0
    nones: int = 0


class _Setup(msgspec.Struct):
    """What the first line says of the run."""

    threshold: float | None = msgspec.field(default=None, name="run.eval_threshold")
    probes: list[str] = msgspec.field(default=[], name="transient.active_probes")
    target: str | None = msgspec.field(default=None, name="plugins.target_name")


@dataclass(frozen=True, slots=True)
class GarakCount:
    """How many outputs of one probe a detector passed, flagged, and had no result for."""

    passed: int = 0
    fails: int = 0
    nones: int = 0


@dataclass(slots=True)
class GarakReport:
    """A report: `counts` are made from its attempts, `stated` are garak's own, by probe and detector.

    `started` counts the attempts that were begun, and `attempts` those that were evaluated. A report that is
    not `complete` was cut off.
    """

    setup: _Setup | None = None
    attempts: list[_Line] = field(default_factory=list)
    stated: dict[tuple[str, str], GarakCount] = field(default_factory=dict)
    started: int = 0
    complete: bool = False

    @property
    def threshold(self) -> float:
        """The score from which on an output counts as flagged."""
        stated = None if self.setup is None else self.setup.threshold
        return _THRESHOLD if stated is None else stated

    @property
    def counts(self) -> dict[tuple[str, str], GarakCount]:
        """What the attempts come to, by probe and detector."""
        found: dict[tuple[str, str], Counter[str]] = {}
        for attempt in self.attempts:
            for detector, scores in attempt.detector_results.items():
                counter = found.setdefault((attempt.probe_classname, detector), Counter())
                counter.update(self._outcome(score) for score in scores)
        return {key: GarakCount(**counter) for key, counter in found.items()}

    def _outcome(self, score: float | None) -> str:
        return (
            "nones"
            if score is None or math.isnan(score)
            else "fails"
            if score >= self.threshold
            else "passed"
        )

    def score(self, attempt: _Line, place: int, choice: str) -> float | None:
        """Return 1 for an output that the chosen detector passed, 0 for one that it flagged.

        A detector that left out outputs does not say which, so none of the attempt's has a result of it.
        """
        chosen = attempt.detector_results if choice == ANY else {choice: attempt.detector_results[choice]}
        found = [
            self._outcome(scores[place]) for scores in chosen.values() if len(scores) == len(attempt.outputs)
        ]
        known = [each for each in found if each != "nones"]
        return float("fails" not in known) if known else None


def read_garak_report(request: ImportRequest) -> GarakReport:
    """Read a report and compare garak's counts with its attempts.

    Raises `DataError` for a line that is no entry, for a report of several runs, for one that was cut off
    (unless unfinished logs are allowed), and for one whose counts are not those of its attempts.
    """
    report = GarakReport()
    for line, data in json_lines(request.path, request.limits):
        entry = decode_document(data, _Line, path=request.path, line=line)
        if entry.entry_type == "start_run setup":
            if report.setup is not None:
                raise _several_runs(request, line)
            report.setup = decode_document(data, _Setup, path=request.path, line=line)
        elif entry.entry_type == "attempt":
            evaluated = entry.status == _EVALUATED
            report.started += not evaluated
            if evaluated:
                _check_outputs(request, entry, line)
                report.attempts.append(entry)
        elif entry.entry_type == "eval":
            report.stated[entry.probe, entry.detector] = GarakCount(entry.passed, entry.fails, entry.nones)
        elif entry.entry_type == "completion":
            report.complete = True
    if not report.complete and not request.allow_unfinished:
        raise _cut_off(request, report)
    _check_counts(request, report)
    return report


def read_garak(request: ImportRequest, columns: Columns) -> None:
    """Import a report; each detector is a choice, and `any` takes all of an output's detectors together.

    Raises `DataError` as `read_garak_report` does, if there are several detectors and none is named, and when
    the model is named nowhere.
    """
    report = read_garak_report(request)
    detectors = list(dict.fromkeys(name for each in report.attempts for name in each.detector_results))
    choice = request.choose([*detectors, ANY] if len(detectors) > 1 else detectors, "detector")
    model = request.model or (None if report.setup is None else report.setup.target)
    if model is None:
        raise DataError(
            "the report does not name its model (plugins.target_name)",
            code="model-not-named-in-results",
            file=request.path,
            hint="name the model of the file: MODEL=PATH",
        )
    columns.add(_answers(request, report, choice, model))


def _answers(request: ImportRequest, report: GarakReport, choice: str, model: str) -> Iterator[ScoredAnswer]:
    epochs: Counter[str] = Counter()
    for attempt in report.attempts:
        if choice != ANY and choice not in attempt.detector_results:
            continue
        prompt = _prompt_text(attempt.prompt)
        sample = text_digest([attempt.probe_classname, prompt])[:16]
        places = ({"probe": attempt.probe_classname},)
        for place, output in enumerate(attempt.outputs):
            epochs[sample] += 1
            text = as_text(output.get("text")) if isinstance(output, Mapping) else as_text(output)
            yield ScoredAnswer(
                sample_id=sample,
                model=model,
                score=None if text is None else report.score(attempt, place, choice),
                epoch=epochs[sample],
                segment=request.label("segment", *places),
                group=request.label("group", *places) or attempt.probe_classname,
                cluster=request.label("cluster", *places),
                error="no answer" if text is None else None,
                output=text,
                input=prompt,
                prompt_digest=text_digest(prompt),
            )


def _prompt_text(prompt: object) -> str:
    """Return the turns of a prompt as one text; a prompt of one turn is that turn."""
    turns = prompt.get("turns") if isinstance(prompt, Mapping) else None
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        return as_text(prompt) or ""
    said = [
        (str(turn.get("role", "user")), _content(turn.get("content")))
        for turn in turns
        if isinstance(turn, Mapping)
    ]
    return said[0][1] if len(said) == 1 else "\n".join(f"{role}: {text}" for role, text in said)


def _content(content: object) -> str:
    return as_text(content.get("text") if isinstance(content, Mapping) else content) or ""


def _cut_off(request: ImportRequest, report: GarakReport) -> DataError:
    reached = {attempt.probe_classname for attempt in report.attempts}
    probes = f" of {len(report.setup.probes)}" if report.setup and report.setup.probes else ""
    evaluated = len(report.attempts)
    return DataError(
        f"the report was cut off: {evaluated} of {max(report.started, evaluated)} attempts are evaluated, of "
        f"{len(reached)}{probes} probes, and there is no `completion`",
        code="run-not-successful",
        file=request.path,
        hint="let garak run to its end, or allow unfinished logs",
    )


def _several_runs(request: ImportRequest, line: int) -> DataError:
    return DataError(
        "another run begins here: one report has one run, with its own threshold",
        code="report-of-several-runs",
        file=request.path,
        line=line,
        hint="split the file where `start_run setup` stands, and import each part",
    )


def _check_outputs(request: ImportRequest, attempt: _Line, line: int) -> None:
    """Refuse an attempt with results of outputs that are not there."""
    outputs = len(attempt.outputs)
    for detector, scores in attempt.detector_results.items():
        if len(scores) > outputs:
            raise DataError(
                f"{detector} has {len(scores)} results for {outputs} outputs",
                code="report-counts-differ",
                file=request.path,
                line=line,
                hint="get the report again, as garak wrote it",
            )


def _check_counts(request: ImportRequest, report: GarakReport) -> None:
    """Refuse a report in which garak counted other outputs than those that are there.

    A complete one has garak's counts of every probe and detector.
    """
    found, none = report.counts, GarakCount()
    keys = dict.fromkeys((*report.stated, *(found if report.complete else ())))
    pairs = ((key, report.stated.get(key, none), found.get(key, none)) for key in keys)
    differing = [
        f"{' '.join(key)}: {_words(stated)} stated, {_words(own)} found"
        for key, stated, own in pairs
        if own != stated
    ]
    if differing:
        raise DataError(
            f"garak's counts are not those of the attempts: {', '.join(differing[:_SHOWN_PROBES])}",
            code="report-counts-differ",
            file=request.path,
            hint="get the report again, as garak wrote it",
        )


def _words(count: GarakCount) -> str:
    return f"{count.passed} passed, {count.fails} failed, {count.nones} without result"
