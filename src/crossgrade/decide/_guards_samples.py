"""Guards on how the samples were drawn, paired, ordered and priced."""

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import BoolColumn, FloatColumn, TextColumn
from crossgrade.decide._finding import finding
from crossgrade.decide._records import Guard
from crossgrade.decide._view import View
from crossgrade.decide._words import count, listed, percent
from crossgrade.domain import Origin


def clusters(view: View) -> Iterator[Guard]:
    """Samples that share a document or conversation are not independent, and a few clusters are no sample."""
    evidence, ids = view.evidence, view.evidence.sample_ids
    if evidence.cluster is not None and view.clusters is not None:
        for part in (view.whole, *view.segments):
            labels = view.clusters[part.rows]
            n = len(np.unique(labels))
            few = n < limits.MIN_CLUSTERS and n < len(labels)
            if part.label is None or few:
                yield finding(
                    "clusters",
                    f"{count(len(labels), 'sample')} in {count(n, 'cluster')}",
                    f"a claim for new clusters needs at least {limits.MIN_CLUSTERS} of them: add documents, "
                    "not samples of the same ones",
                    fail=few,
                    segment=part.label,
                )
        split = _split_repeats(ids, evidence.cluster)
        if split:
            yield finding(
                "clusters",
                f"{count(split, 'sample')} repeated under several cluster labels",
                "repeats of one sample belong in one cluster: use the sample's id as its label",
                fail=True,
            )
        return
    repeats = len(ids) - len(set(ids.tolist()))
    stems = 0 if repeats else _stems(view)
    seen = f"{count(len(ids), 'sample')}, each for itself"
    if repeats:
        seen = f"{count(repeats, 'row')} repeat a sample; each sample is treated as one cluster"
    elif stems:
        seen = f"{count(len(ids), 'sample')} have ids with only {stems:,} stems, and no cluster is declared"
    yield finding(
        "clusters",
        seen,
        "declare the cluster column (`--cluster`), or average the repeats of a sample",
        warn=bool(repeats or stems),
    )


def key_conflicts(view: View) -> Iterator[Guard]:
    """One id with two questions or two keys compares nothing."""
    audit = view.evidence.audit
    share = audit.key_conflicts / (view.evidence.n + audit.key_conflicts)
    yield finding(
        "key-conflicts",
        f"{count(audit.key_conflicts, 'sample')} left out: same id, different question or key"
        + _examples(view, audit.key_conflicts),
        "run both models on one frozen dataset",
        fail=share > limits.CONFLICTS_FAIL,
        warn=audit.key_conflicts > 0,
    )


def mismatched_items(view: View) -> Iterator[Guard]:
    """Samples that only one model answered leave a selection."""
    audit = view.evidence.audit
    share = audit.unmatched / (view.evidence.n + audit.unmatched)
    yield finding(
        "mismatched-items",
        f"{count(audit.unmatched, 'sample')} left out: only one model has them ({percent(share)})"
        + _examples(view, audit.unmatched),
        "run the model that lacks them on these samples too",
        fail=share > limits.UNMATCHED_FAIL,
        warn=audit.unmatched > 0,
    )


def duplicates(view: View) -> Iterator[Guard]:
    """A sample given twice counts twice."""
    audit, texts = view.evidence.audit, view.evidence.input
    share = audit.duplicates / (view.evidence.n + audit.duplicates)
    again = 0
    if texts is not None and view.clusters is None:
        known = [str(text) for text in texts if text]
        again = len(known) - len(set(known))
    yield finding(
        "duplicates",
        f"{count(audit.duplicates, 'row')} left out as given twice; "
        f"{count(again, 'sample')} with a question asked under another id",
        "remove the copies, or declare them as clusters",
        fail=share > limits.DUPLICATES_FAIL,
        warn=audit.duplicates > 0 or again > 0,
    )


def prompt_parity(view: View) -> Iterator[Guard]:
    """Two prompts for one question compare the prompts: a PASS of 1.19 on MMLU-Pro mathematics was one."""
    incumbent = view.evidence.incumbent
    for candidate in view.evidence.candidates:
        ours, theirs = incumbent.prompt_digests, candidate.prompt_digests
        if ours is None or theirs is None:
            yield finding("prompt-parity", "prompts are not recorded", "", candidate=candidate.model)
            continue
        pairs = zip(ours, theirs, strict=True)
        differ = sum(a is not None and b is not None and a != b for a, b in pairs)
        yield finding(
            "prompt-parity",
            f"the incumbent and {candidate.model} got different prompts on {count(differ, 'sample')}"
            + (", as declared" if differ and view.settings.parity_declared else ""),
            "give both models the same prompt, or declare that the difference is meant",
            fail=differ > 0 and not view.settings.parity_declared,
            warn=differ > 0,
            candidate=candidate.model,
        )


def decoding_parity(view: View) -> Iterator[Guard]:
    """Rows of one model under several settings are several models."""
    incumbent, declared = view.evidence.incumbent, view.settings.parity_declared
    for model in (incumbent, *view.evidence.candidates):
        kinds = len(model.settings_digests)
        if kinds > 1:
            yield finding(
                "decoding-parity",
                f"{model.model}'s answers come from {kinds} different settings",
                "keep one variant's rows, or name the variants as different models",
                fail=True,
                candidate=None if model is incumbent else model.model,
            )
    for model in view.evidence.candidates:
        known = bool(incumbent.settings_digests and model.settings_digests)
        differ = known and set(incumbent.settings_digests) != set(model.settings_digests)
        yield finding(
            "decoding-parity",
            (
                "settings or templates differ"
                if differ
                else "same settings"
                if known
                else "settings not recorded"
            )
            + f" between the incumbent and {model.model}"
            + (", as declared" if differ and declared else ""),
            "use the same settings for both, or declare that the difference is meant",
            warn=differ and not declared,
            candidate=model.model,
        )


def order_dependence(view: View) -> Iterator[Guard]:
    """Bets assume that the next sample is drawn like the last: samples in file order are not."""
    sequential = view.order is not None
    order = np.arange(view.evidence.n) if view.order is None else view.order
    in_file_order = sequential and bool(np.all(np.diff(order) > 0)) and len(order) > 1
    for candidate in view.evidence.candidates:
        rows = view.paired(candidate.model, view.whole.rows)
        asked = order[rows[order]]
        d = view.candidate(candidate.model) - view.settings.floor * view.incumbent
        d = d if sequential else _within_parts(view, d, rows)
        drifts, value = _drifts(_by_cluster(view, d, asked) if sequential else d[asked])
        where = "in the order asked" if sequential else "in file order"
        seen = f"{candidate.model}: neighbouring samples {where} are no more alike than distant ones"
        advice = "declare clusters (`--cluster`), if neighbours share a document, template or subject"
        if in_file_order:
            seen = f"{candidate.model}: the {count(len(asked), 'sample')} were asked in file order"
            advice = "shuffle by a recorded seed before asking, or decide with mode `fixed`"
        if drifts:
            seen += f"; {limits.DRIFT_BLOCKS} consecutive blocks differ (p = {value:.1g})"
            seen = seen if in_file_order else f"{candidate.model}: {where}, " + seen.split("; ")[1]
        yield finding(
            "order-dependence",
            seen,
            advice,
            fail=in_file_order and drifts,
            warn=in_file_order or drifts,
            candidate=candidate.model,
        )


def peeking(view: View) -> Iterator[Guard]:
    """A fixed test is read once, at the end: a look every ten samples passes wrongly 30 % of the time."""
    planned, changed = view.evidence.planned or 0, view.settings.changed_since_run
    asked = min(
        int(view.reached(model).sum()) for model in (view.evidence.incumbent, *view.evidence.candidates)
    )
    short = asked < planned
    seen = f"{asked:,} of {count(planned, 'planned sample')} are in" if planned else count(asked, "sample")
    seen += f", design {view.mode}"
    if changed:
        seen += f"; the run was made under {listed(changed)}"
    yield finding(
        "peeking",
        seen,
        "finish the run before a fixed test is read, or run with mode `sequential`"
        if view.order is None
        else "evaluate again under the settings that you decide by: paid answers are reused",
        fail=view.order is None and short,
        warn=bool(changed),
    )


def selection(view: View) -> Iterator[Guard]:
    """The best of several candidates or segments looks better than it is; alpha is spent once over all."""
    k, parts, draws = len(view.evidence.candidates), len(view.segments), view.settings.draws
    others = view.settings.workloads - 1
    hypotheses = k * (parts if parts and view.settings.splits_only else 1 + parts)
    hypotheses += len(view.settings.siblings)
    seen = "one candidate, one hypothesis"
    if hypotheses > 1:
        shared = f", with {count(others, 'other workload')}" if others else ""
        seen = (
            f"{count(k, 'candidate')} and {count(parts, 'segment')}{shared}: {hypotheses} hypotheses, "
            f"corrected by Holm at {view.settings.alpha:g} over all of them"
        )
    if draws > 1:
        seen += f"; this dataset was run in {draws} different draws, of which this is one"
    yield finding(
        "selection",
        seen,
        "keep one seed and one plan: the best of several draws errs more often than each",
        warn=draws > 1,
    )


def origin(view: View) -> Iterator[Guard]:
    """A vendor's figure may plan a run, never certify a policy."""
    for model in (view.evidence.incumbent, *view.evidence.candidates):
        yield finding(
            "origin",
            f"{model.model}'s scores are {model.origin.value}",
            "score both models yourself, or use an independent source",
            fail=model.origin is Origin.VENDOR,
            candidate=None if model is view.evidence.incumbent else model.model,
        )


def price_known(view: View) -> Iterator[Guard]:
    """A certificate without a price is no reason to switch."""
    for model in (view.evidence.incumbent, *view.evidence.candidates):
        asked = view.asked(model)
        missing = int((asked & ~np.isfinite(model.cost_usd)).sum())
        n = int(asked.sum())
        stated = view.settings.stated_cost_usd.get(model.model)
        known = "none" if missing == n else f"{n - missing:,}"
        seen = f"the cost of {known} of {model.model}'s {count(n, 'answer')} is known"
        unknown = missing > limits.UNKNOWN_COST * n
        if unknown and stated is not None:
            seen = f"{model.model} is stated to cost ${stated:g} a request"
        yield finding(
            "price-known",
            seen,
            "give a price in crossgrade.yaml, a `cost_usd` column, or `--cost MODEL=USD`",
            warn=unknown and stated is None,
            candidate=None if model is view.evidence.incumbent else model.model,
        )


def traffic_weights(view: View) -> Iterator[Guard]:
    """The whole is the traffic's mix, not the dataset's."""
    weight = view.evidence.weight
    if weight is None:
        yield finding("traffic-weights", "every sample stands for the same share of traffic", "")
        return
    usable = view.weight is not None
    effective = float(weight.sum() ** 2 / (weight**2).sum()) if usable else 0.0
    n = len(weight)
    yield finding(
        "traffic-weights",
        f"weighted by traffic: {count(n, 'sample')} are worth {effective:,.0f}"
        if usable
        else "weights are missing, negative or all zero",
        "draw samples from the traffic itself, so that few of them need a large weight",
        fail=not usable,
        warn=effective < limits.EFFECTIVE_SHARE * n,
    )


def _examples(view: View, found: int) -> str:
    """Return ` (such as a, b)` where something was found."""
    return (
        f", such as {listed(view.evidence.audit.examples, 3)}"
        if found and view.evidence.audit.examples
        else ""
    )


def _split_repeats(ids: TextColumn, labels: TextColumn) -> int:
    """Return how many sample ids occur under more than one cluster label."""
    pairs = set(zip(ids.tolist(), labels.tolist(), strict=True))
    return sum(times > 1 for times in Counter(name for name, _ in pairs).values())


_NUMBER_AT_END = re.compile(r"[-_/.:# ]+(?:epoch|turn|part|chunk|page|q|v|p)?[-_ ]?\d{1,9}$", re.IGNORECASE)


def _stems(view: View) -> int:
    """Return how many stems the ids have, where they look like undeclared clusters, else 0.

    `doc7-q1, doc7-q2, doc8-q1 …` has the stems `doc7, doc8, …`. One stem for all, a stem for
    every sample, or the segments or groups themselves say nothing.
    """
    ids = view.evidence.sample_ids[: limits.IDS_READ]
    stems = [_NUMBER_AT_END.sub("", str(name)[:200]) for name in ids]
    distinct = len(set(stems))
    if distinct < limits.MIN_CLUSTERS or distinct > limits.EFFECTIVE_SHARE * len(stems):
        return 0
    labels = view.evidence.segment if view.splittable else view.evidence.group
    if labels is None:
        return distinct
    return distinct if len(set(zip(stems, labels[: limits.IDS_READ], strict=True))) > len(view.parts) else 0


def _within_parts(view: View, d: FloatColumn, rows: BoolColumn) -> FloatColumn:
    """Return d less the mean of its segment or group: files sorted by those are no surprise."""
    rest = d.copy()
    for part in view.parts:
        here = part.rows & rows
        if here.any():
            rest[here] -= d[here].mean()
    return rest


def _by_cluster(view: View, d: FloatColumn, asked: NDArray[np.int64]) -> FloatColumn:
    """Return d of some rows in their order; of clusters that were asked as a whole, each one's mean."""
    if view.clusters is None or not len(asked):
        return d[asked]
    labels = view.clusters[asked]
    starts = np.flatnonzero(np.append(True, labels[1:] != labels[:-1]))
    means: FloatColumn = np.add.reduceat(d[asked], starts) / np.diff(np.append(starts, len(asked)))
    return means


def _drifts(d: FloatColumn) -> tuple[bool, float]:
    """Return whether consecutive blocks of d differ more than chance explains, and the p-value.

    One-way analysis of variance over equal blocks, its F compared with chi-square / df (the
    blocks' means are near normal).
    """
    if len(d) < limits.DRIFT_MIN_N:
        return False, 1.0
    from scipy.special import chdtrc

    size = len(d) // limits.DRIFT_BLOCKS
    blocks = d[: size * limits.DRIFT_BLOCKS].reshape(limits.DRIFT_BLOCKS, size)
    within = float(blocks.var(axis=1, ddof=1).mean())
    if within <= 0:
        return False, 1.0
    df = limits.DRIFT_BLOCKS - 1
    value = float(chdtrc(df, df * size * float(blocks.mean(axis=1).var(ddof=1)) / within))
    return value < limits.DRIFT_ALPHA, value
