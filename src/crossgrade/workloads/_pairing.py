"""Results paired into evidence: the same samples, the same questions, one score each."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from shlex import quote

import numpy as np
from numpy.typing import NDArray

from crossgrade.decide import Evidence, ModelColumns, PairingAudit
from crossgrade.domain import SETUP_FIELDS, AgentRuns
from crossgrade.errors import DataError, NotFoundError, closest
from crossgrade.workloads._results import BoolColumn, FloatColumn, Results, Rows, TextColumn
from crossgrade.workloads._runs import agent_runs, is_of_agents, unknown_costs

# What must agree between all rows of a sample: two questions, keys or labels under one id are
# two samples, and it is unknown which is meant.
_AGREED = ("question_digest", "target_digest", "segment", "group", "cluster")
_EXAMPLES = 5
_ROUNDING = 5e-4
_SAME_WEIGHT = 1e-6  # two tools may write one weight with different digits
_SAME_PROBABILITY = 1e-6


def pair(
    results: Results,
    *,
    incumbent: str | None = None,
    candidates: Sequence[str] = (),
    workload: str | None = None,
    errors_as_zero: bool = True,
    alone: bool = False,
    unpaired: Collection[str] = (),
) -> Evidence:
    """Pair the rows of the incumbent and its candidates, sample by sample.

    Without `candidates` every other model is one. Epochs of a sample are averaged, also where the
    models have different numbers of them; with `errors_as_zero` an epoch without an answer counts
    as 0 in that mean, otherwise it is left out. A sample without any answer has `error` and no
    score. Left out and counted in the audit: samples that the incumbent or every candidate lacks
    (`unmatched`, which also counts those that only some candidates lack; with `alone` the incumbent's
    samples stay, which no candidate was to answer; samples in `unpaired`, which the incumbent was not
    to answer, stay with a candidate's answer alone), and samples whose rows
    disagree about question, key, segment, group, cluster or weight (`key_conflicts`). Rows that repeat
    an epoch are averaged and counted (`duplicates`). Scores outside [0, 1] become NaN and are
    counted (`out_of_range`). Samples keep the order of the results.

    A mean that the source states is passed on where it should equal that of the paired scores.

    Raises `NotFoundError` for a model without rows, and `DataError` when no incumbent is named,
    no sample is left, all of them have the weight 0, or rows of one state two label probabilities.
    """
    variants = _variants(results, incumbent, candidates)
    found = _Pairing(results, variants, alone=alone, unpaired=unpaired)
    kept = np.flatnonzero(found.kept)
    if not len(kept):
        raise DataError(
            f"no sample has comparable rows of {' and '.join(variants)}: "
            f"{found.audit.unmatched} lack one side, {found.audit.key_conflicts} have rows that disagree "
            "on question, key, label or weight",
            code="pairs-missing",
            hint="check that both models answered the same items under the same ids",
        )
    columns = [found.model_columns(name, kept, errors_as_zero=errors_as_zero) for name in variants]
    names = results.workload_names
    return Evidence(
        workload=workload or (names[0] if len(names) == 1 else results.name),
        sample_ids=results.samples.names[kept],
        incumbent=columns[0],
        candidates=tuple(columns[1:]),
        segment=found.agreed_names("segment", kept),
        group=found.agreed_names("group", kept),
        cluster=found.agreed_names("cluster", kept),
        weight=found.weight(kept),
        label_probability=found.label_probability(kept),
        label_skipped=found.label_skipped(kept),
        input=found.text("input", found.all_rows, kept),
        target=found.text("target", found.all_rows, kept),
        audit=found.audit,
        source=results.source,
    )


def _variants(results: Results, incumbent: str | None, candidates: Sequence[str]) -> tuple[str, ...]:
    """Return the incumbent and its candidates, all of which have rows."""
    names = results.model_names
    listed = ", ".join(names) or "none"
    if incumbent is None:
        which = " or ".join(f"--incumbent {quote(name)}" for name in (names if len(names) == 2 else ["NAME"]))
        raise DataError(
            f"no incumbent is named; the models are {listed}", code="incumbent-not-named", hint=f"add {which}"
        )
    for name in (incumbent, *candidates):
        if name not in names:
            raise NotFoundError(
                f'no rows of the model "{name}"; the models are {listed}{closest(name, names)}',
                code="model-not-in-results",
                hint="name models as the results do",
            )
    others = tuple(dict.fromkeys(candidates)) or tuple(name for name in names if name != incumbent)
    if not others or incumbent in others:
        raise DataError(
            f"a candidate other than the incumbent is expected; the models are {listed}",
            code="candidate-missing",
            hint="add results of another model",
        )
    return (incumbent, *others)


@dataclass(frozen=True, slots=True)
class _Agreed:
    """What the rows of each sample agree on: a label's code, and where they do not."""

    codes: NDArray[np.int32]
    conflict: BoolColumn


class _Pairing:
    """The rows of the variants, counted by sample."""

    def __init__(
        self, results: Results, variants: Sequence[str], *, alone: bool, unpaired: Collection[str]
    ) -> None:
        self._results = results
        self._n = len(results.samples.names)
        codes = {name: code for code, name in enumerate(results.models.names)}
        self._rows: dict[str, Rows] = {
            name: np.flatnonzero(results.models.codes == codes[name]) for name in variants
        }
        self.all_rows: Rows = np.sort(np.concatenate(list(self._rows.values())))
        self._agreed = {name: self._agree(name) for name in _AGREED if name in results.labels}
        counts = [self._count(rows) for rows in self._rows.values()]
        self._present = np.array([count > 0 for count in counts])
        conflict = np.zeros(self._n, dtype=np.bool_)
        for agreed in self._agreed.values():
            conflict |= agreed.conflict
        conflict |= self._weights_differ()
        answered = self._present[1:].any(axis=0)
        paired = self._present[0] & (alone | answered)
        if unpaired:
            spared = frozenset(unpaired)
            paired |= answered & np.array([name in spared for name in results.samples.names.tolist()])
        self.kept: BoolColumn = paired & ~conflict
        self.audit = self._audit(conflict, counts)

    def model_columns(self, name: str, kept: Rows, *, errors_as_zero: bool) -> ModelColumns:
        """Return one model's columns on the kept samples."""
        results, rows = self._results, self._rows[name]
        score = results.score[rows]
        out_of_range = (score < 0) | (score > 1)
        error = results.error[rows]
        is_scored = np.isfinite(score) & ~out_of_range & ~error
        scored = self._count(rows[is_scored])
        errors = self._count(rows[error])
        total = self._count(rows[is_scored], score[is_scored])
        values = np.full(self._n, np.nan)
        np.divide(total, scored + (errors if errors_as_zero else 0), out=values, where=scored > 0)
        # A mean over the scores that happen to fit would hide the ones that do not.
        values[self._count(rows[out_of_range]) > 0] = np.nan
        labels = results.labels
        calls = self._count(rows)
        epochs = int(calls.max(initial=1))
        return ModelColumns(
            model=name,
            score=values[kept],
            error=((errors > 0) & (scored == 0))[kept],
            unparsed=(self._count(rows[results.unparsed[rows]]) > 0)[kept],
            cost_usd=self._costs(rows, kept),
            latency_ms=self._mean("latency_ms", rows, kept),
            ttft_ms=self._mean("ttft_ms", rows, kept),
            output=self.text("output", rows, kept),
            origin=results.origin,
            settings_digests=labels["settings_digest"].on(rows) if "settings_digest" in labels else (),
            prompt_digests=self._first_label("prompt_digest", rows, kept),
            stated_mean=self._stated_mean(name, values, scored, errors),
            out_of_range=int(out_of_range.sum()),
            epochs=epochs,
            human=self._mean("human", rows, kept) if "human" in results.amounts else None,
            calls=calls[kept] if epochs > 1 else None,
            failed_calls=errors[kept] if epochs > 1 else None,
            truncated=self._truncated(rows, kept),
            runs=self._runs_of(name, rows, kept),
        )

    def _costs(self, rows: Rows, kept: Rows) -> FloatColumn:
        """Return the mean cost of each kept sample's rows.

        That of a task of an agent is unknown if one of its trials was judged and has no known cost.
        """
        costs = self._mean("cost_usd", rows, kept)
        results = self._results
        if not is_of_agents(results) or not (missing := rows[unknown_costs(results, rows)]).size:
            return costs
        return np.where(self._count(missing)[kept] > 0, np.nan, costs)

    def _runs_of(self, name: str, rows: Rows, kept: Rows) -> AgentRuns | None:
        """Return what is known of a model's runs on the kept samples, None if it was no agent's.

        Raises `DataError` if they were made with more than one agent, version, dataset or set of limits.
        """
        found = agent_runs(self._results, rows[np.isin(self._results.samples.codes[rows], kept)])
        if not found:
            return None
        if len(found) > 1:
            differing = [
                f"{field.replace('_', ' ')} {' and '.join(sorted(str(each) for each in values))}"
                for field in SETUP_FIELDS
                if len(values := {getattr(setup, field) or "unknown" for setup in found}) > 1
            ]
            raise DataError(
                f"the runs of {name} were not all made alike: {'; '.join(differing)}",
                code="agent-runs-mixed",
                hint="give the runs that were made alike, and leave the others out",
            )
        (runs,) = found.values()
        first = self._first_label("prompt_digest", next(iter(self._rows.values())), kept)
        own = self._first_label("prompt_digest", rows, kept)
        same = first is not None and own is not None and None not in own.tolist()
        if first is not None and own is not None:
            same &= first.tolist() == own.tolist()
        return replace(runs, same_tasks=same)

    def agreed_names(self, label: str, kept: Rows) -> TextColumn | None:
        """Return a label of the kept samples, or None if a sample has none."""
        if label not in self._agreed:
            return None
        return _named(self._results.labels[label].names, self._agreed[label].codes[kept])

    def weight(self, kept: Rows) -> FloatColumn | None:
        """Return the samples' weights, or None if all are the same.

        A sample without one stands for the mean of the others.
        """
        weight = self._mean("weight", self.all_rows, kept)
        known = weight[np.isfinite(weight)]
        if len(known) and not known.any():
            raise DataError(
                f"the weight of all {len(known)} samples is 0; nothing stands for any traffic",
                code="weight-invalid-in-data",
                hint="leave the column out where all samples stand for the same share of traffic",
            )
        if not len(known) or (known == known[0]).all():
            return None
        return np.where(np.isnan(weight), known.mean(), weight)

    def label_probability(self, kept: Rows) -> FloatColumn | None:
        """Return the probability with which each kept sample was drawn for people; None if none is known.

        A sample with several epochs was drawn if any of them was. Raises `DataError` where the models' rows
        of a sample state different ones: people score all answers of a sample, or none.
        """
        if "label_probability" not in self._results.amounts:
            return None
        ours, *others = (self._label_probability_of(rows, kept) for rows in self._rows.values())
        for name, theirs in zip(list(self._rows)[1:], others, strict=True):
            differs = np.flatnonzero(np.abs(theirs - ours) > _SAME_PROBABILITY)
            if len(differs):
                at = differs[0]
                raise DataError(
                    f"the sample {str(self._results.samples.names[kept[at]])[:40]!r} was drawn for people "
                    f"with the probability {ours[at]:g}, and with {theirs[at]:g} in the row of {name}",
                    code="label-probability-differs",
                    hint="give all rows of a sample the probability with which the sample was drawn",
                )
        return ours

    def _label_probability_of(self, rows: Rows, kept: Rows) -> FloatColumn:
        """Return the probability of each kept sample by one model's rows, NaN where they state none."""
        chance = self._results.amounts["label_probability"][rows]
        rows, chance = rows[np.isfinite(chance)], chance[np.isfinite(chance)]
        missed = np.ones(self._n)
        np.multiply.at(missed, self._results.samples.codes[rows], 1.0 - chance)
        several = self._count(rows)[kept] > 1
        return np.where(several, 1.0 - missed[kept], self._mean("label_probability", rows, kept))

    def label_skipped(self, kept: Rows) -> FloatColumn | None:
        """Return the share of each kept sample's labels that people skipped; None if of none."""
        if "label_skipped" not in self._results.amounts:
            return None
        share = self._mean("label_skipped", self.all_rows, kept)
        return share if np.nan_to_num(share).any() else None

    def text(self, name: str, rows: Rows, kept: Rows) -> TextColumn | None:
        """Return the first text that each kept sample has among some rows."""
        texts = self._results.texts.get(name)
        if texts is None:
            return None
        known = rows[np.array([text is not None for text in texts[rows]], dtype=np.bool_)]
        found = np.full(self._n, None, dtype=np.object_)
        found[self._results.samples.codes[known[::-1]]] = texts[known[::-1]]
        return found[kept]

    def _count(self, rows: Rows, weights: FloatColumn | None = None) -> FloatColumn:
        """Return how many of the rows (or how much weight) each sample has."""
        samples = self._results.samples.codes[rows]
        return np.bincount(samples, weights, minlength=self._n).astype(np.float64, copy=False)

    def _agree(self, label: str) -> _Agreed:
        samples, codes = self._results.samples.codes, self._results.labels[label].codes
        rows = self.all_rows[codes[self.all_rows] >= 0]
        agreed = np.full(self._n, -1, dtype=np.int32)
        agreed[samples[rows[::-1]]] = codes[rows[::-1]]
        conflict = np.zeros(self._n, dtype=np.bool_)
        conflict[samples[rows[codes[rows] != agreed[samples[rows]]]]] = True
        return _Agreed(agreed, conflict)

    def _weights_differ(self) -> BoolColumn:
        """Return the samples whose rows state different weights."""
        lowest, highest = np.full(self._n, np.inf), np.full(self._n, -np.inf)
        if "weight" in self._results.amounts:
            samples, weight = self._results.samples.codes, self._results.amounts["weight"]
            rows = self.all_rows[np.isfinite(weight[self.all_rows])]
            np.minimum.at(lowest, samples[rows], weight[rows])
            np.maximum.at(highest, samples[rows], weight[rows])
        return lowest < (1 - _SAME_WEIGHT) * highest

    def _audit(self, conflict: BoolColumn, counts: Sequence[FloatColumn]) -> PairingAudit:
        unmatched = self._present.any(axis=0) & ~self._present.all(axis=0) & ~conflict
        ours, *theirs = self._present & ~conflict
        repeated = np.zeros(self._n, dtype=np.bool_)
        for rows, count in zip(self._rows.values(), counts, strict=True):
            repeated |= self._repeats(rows, count)
        examples = [*np.flatnonzero(conflict), *np.flatnonzero(repeated), *np.flatnonzero(unmatched)]
        return PairingAudit(
            unmatched=int(unmatched.sum()),
            duplicates=int(repeated.sum()),
            key_conflicts=int(conflict.sum()),
            examples=tuple(self._results.samples.names[examples[:_EXAMPLES]]),
            unmatched_by_candidate={
                name: int((ours ^ each).sum())
                for name, each in zip(list(self._rows)[1:], theirs, strict=True)
            },
        )

    def _repeats(self, rows: Rows, count: FloatColumn) -> BoolColumn:
        """Return the samples of which a model has two rows of one epoch."""
        several = count > 1
        if "epoch" not in self._results.labels or not several.any():
            return several
        rows = rows[several[self._results.samples.codes[rows]]]
        samples = self._results.samples.codes[rows]
        epochs = self._results.labels["epoch"].codes[rows]
        order = np.lexsort((epochs, samples))
        same = (np.diff(samples[order]) == 0) & (np.diff(epochs[order]) == 0)
        repeated = np.zeros(self._n, dtype=np.bool_)
        repeated[samples[order][1:][same]] = True
        return repeated

    def _mean(self, amount: str, rows: Rows, kept: Rows) -> FloatColumn:
        """Return the mean amount of each kept sample's rows, NaN where none is known."""
        if amount not in self._results.amounts:
            return np.broadcast_to(np.float64(np.nan), len(kept))  # one number in memory, not n
        values = self._results.amounts[amount][rows]
        known = np.isfinite(values)
        total, count = self._count(rows[known], values[known])[kept], self._count(rows[known])[kept]
        mean = np.full(len(kept), np.nan)
        np.divide(total, count, out=mean, where=count > 0)
        return mean

    def _truncated(self, rows: Rows, kept: Rows) -> BoolColumn | None:
        """Return on which kept samples a token limit ended any answer, or None if it is known of none."""
        share = self._mean("truncated", rows, kept)
        return share > 0 if np.isfinite(share).any() else None

    def _first_label(self, label: str, rows: Rows, kept: Rows) -> TextColumn | None:
        labels = self._results.labels.get(label)
        if labels is None or (labels.codes[rows] < 0).all():
            return None
        codes = np.full(self._n, -1, dtype=np.int32)
        codes[self._results.samples.codes[rows[::-1]]] = labels.codes[rows[::-1]]
        return _named(labels.names, codes[kept])

    def _stated_mean(
        self, name: str, values: FloatColumn, scored: FloatColumn, errors: FloatColumn
    ) -> float | None:
        """Return the mean that the source states, if it is comparable to the paired scores.

        It is not where pairing left samples out, or the source left failed calls out, and the
        source's own rows bear it out: then the difference is explained.
        """
        stated = self._results.stated_means.get(name)
        failed = int(((errors > 0) & (scored == 0)).sum())
        if stated is None or (not failed and self.kept[scored + errors > 0].all()):
            return stated
        known = values[np.isfinite(values)]
        means = (known.sum() / max(len(known), 1), known.sum() / max(len(known) + failed, 1))
        borne_out = any(abs(mean - stated) <= _ROUNDING for mean in means)
        return None if borne_out else stated


def _named(names: TextColumn, codes: NDArray[np.int32]) -> TextColumn:
    """Return the names of codes, None for -1."""
    return np.append(names, [None])[codes]
