"""Guards on how the samples were drawn, paired and ordered."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import BoolColumn, FloatColumn, IntColumn, TextColumn
from crossgrade.decide._guard_tests import finding, groups_differ, look_alpha
from crossgrade.decide._records import Guard
from crossgrade.decide._view import View
from crossgrade.decide._words import count, percent
from crossgrade.stats import retention

_NUMBER_AT_END = re.compile(r"[-_/.:# ]+(?:epoch|turn|part|chunk|page|q|v|p)?[-_ ]?\d{1,9}$", re.IGNORECASE)


def clusters(view: View) -> Iterator[Guard]:
    """Samples that share a document or conversation are not independent, and a few clusters are no sample."""
    evidence, ids = view.evidence, view.evidence.sample_ids
    if evidence.cluster is not None and view.clusters is not None:
        yield from _declared_clusters(view, view.clusters)
        return
    repeats, copies = len(ids) - len(set(ids.tolist())), _copies(view)
    suspected = None if repeats else suspected_clusters(view)
    seen, rests = f"{count(len(ids), 'sample')}, each for itself", False
    if copies and evidence.order is None:
        seen = f"{count(len(ids), 'sample')} with {len(ids) - copies:,} questions, each question for itself"
    if repeats:
        seen = f"{count(repeats, 'row')} repeat a sample; each sample is treated as one cluster"
    elif suspected is not None:
        what, groups = suspected
        models = [candidate.model for candidate in evidence.candidates]
        value = min(_alike(view, model, groups) for model in models)
        shown = value < look_alpha(view)
        rests = shown and any(_pass_rests_on(view, model, groups) for model in models)
        seen = f"{count(len(ids), 'sample')} {what}, and no cluster is declared; samples of one are "
        seen += f"{'more' if shown else 'no more'} alike than others (p = {value:.2g})"
        seen += ", and a pass rests on counting each for itself" if rests else ""
    yield finding(
        "clusters",
        seen,
        "declare the cluster column (`--cluster`), or a `--group` where these are subjects; "
        "average the repeats of a sample",
        fail=rests,
        warn=bool(repeats or suspected),
    )


def _declared_clusters(view: View, numbers: IntColumn) -> Iterator[Guard]:
    """Yield the number of clusters of the whole, and of every segment that has too few.

    Few clusters are too few data, not bad data: they warn, and no test at the end certifies them.
    """
    evidence = view.evidence
    assert evidence.cluster is not None
    for part in (view.whole, *view.segments):
        labels = numbers[part.rows]
        n = len(np.unique(labels))
        few = n < limits.MIN_CLUSTERS and n < len(labels)
        if part.label is None or few:
            yield finding(
                "clusters",
                f"{count(len(labels), 'sample')} in {count(n, 'cluster')}",
                f"a claim for new clusters needs at least {limits.MIN_CLUSTERS} of them: add documents, "
                "not samples of the same ones",
                warn=few,
                segment=part.label,
            )
    split = _split_repeats(evidence.sample_ids, evidence.cluster)
    if split:
        yield finding(
            "clusters",
            f"{count(split, 'sample')} repeated under several cluster labels",
            "repeats of one sample belong in one cluster: use the sample's id as its label",
            fail=True,
        )


def key_conflicts(view: View) -> Iterator[Guard]:
    """One id with two questions, keys, labels or weights compares nothing."""
    audit = view.evidence.audit
    share = audit.key_conflicts / (view.evidence.n + audit.key_conflicts)
    yield finding(
        "key-conflicts",
        f"{count(audit.key_conflicts, 'sample')} left out: same id, different question, key, label or weight"
        + _examples(view, audit.key_conflicts),
        "run both models on one frozen dataset",
        fail=share > limits.CONFLICTS_FAIL,
        warn=audit.key_conflicts > 0,
    )


def mismatched_items(view: View) -> Iterator[Guard]:
    """Samples that only one model answered may be those that the other would have got wrong."""
    audit, everywhere = view.evidence.audit, np.ones(view.evidence.n, dtype=np.bool_)
    for candidate in view.evidence.candidates:
        unmatched = audit.unmatched_by_candidate.get(candidate.model, audit.unmatched)
        matched = int(view.paired(candidate.model, everywhere).sum())
        share = unmatched / max(unmatched + matched, 1)
        yield finding(
            "mismatched-items",
            f"{count(unmatched, 'sample')} left out: only one of the incumbent and {candidate.model} "
            f"has them ({percent(share)})" + _examples(view, unmatched),
            "run the model that lacks them on these samples too",
            fail=share > limits.UNMATCHED_FAIL,
            warn=unmatched > 0,
            candidate=candidate.model,
        )


def duplicates(view: View) -> Iterator[Guard]:
    """A sample given twice counts twice, under one id or two.

    Samples of imported results that ask the same are counted as one, so these only warn.
    """
    audit, n = view.evidence.audit, view.evidence.n
    copies = _copies(view)
    given, once = audit.duplicates / (n + audit.duplicates), view.evidence.order is None
    yield finding(
        "duplicates",
        f"{_averaged(audit.duplicates)}; "
        f"{count(copies, 'sample')} with a question asked under another id"
        + (", counted with it as one sample" if copies and once else ""),
        "ask each question once, with its number of requests as its weight"
        if copies and once and not audit.duplicates
        else "if the rows are attempts, name the column that counts them: `--column epoch=attempt`. "
        "If not, remove the copies"
        if audit.duplicates and not copies
        else "remove the copies, or declare them as clusters: `--cluster` with the column of the question",
        fail=max(given, 0.0 if once else copies / n) > limits.DUPLICATES_FAIL,
        warn=audit.duplicates > 0 or copies > 0,
    )


def _averaged(samples: int) -> str:
    """Return what was done with rows given twice; without any, in the words that verdicts have recorded."""
    if not samples:
        return "0 rows left out as given twice"
    return f"{count(samples, 'sample')} with several rows of one attempt, which are averaged"


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
        values = _by_cluster(view, d, asked) if sequential else d[asked]
        drifts, blocks, value = _drifts(values, look_alpha(view))
        where = "in the order asked" if sequential else "in file order"
        seen = f"{candidate.model}: neighbouring samples {where} are no more alike than distant ones"
        advice = "declare clusters (`--cluster`), if neighbours share a document, template or subject"
        if in_file_order:
            seen = f"{candidate.model}: the {count(len(asked), 'sample')} were asked in file order"
            advice = "shuffle by a recorded seed before asking, or decide with mode `fixed`"
        if drifts:
            seen += f"; {blocks} differ (p = {value:.1g})"
            seen = seen if in_file_order else f"{candidate.model}: {where}, " + seen.split("; ")[1]
        yield finding(
            "order-dependence",
            seen,
            advice,
            fail=in_file_order and drifts,
            warn=in_file_order or drifts,
            candidate=candidate.model,
        )


def _examples(view: View, found: int) -> str:
    """Return `, such as a, b` if something was found, else an empty text."""
    examples = view.evidence.audit.examples[:3]
    return f", such as {', '.join(examples)}" if found and examples else ""


def _split_repeats(ids: TextColumn, labels: TextColumn) -> int:
    """Return how many sample ids occur under more than one cluster label."""
    pairs = set(zip(ids.tolist(), labels.tolist(), strict=True))
    return sum(times > 1 for times in Counter(name for name, _ in pairs).values())


def _copies(view: View) -> int:
    """Return how many samples repeat the question and the reference answer of another, without clusters."""
    evidence = view.evidence
    if evidence.cluster is not None:
        return 0
    return len(set(evidence.sample_ids.tolist())) - len(set(replace(evidence, order=None).units))


def _alike(view: View, candidate: str, groups: IntColumn) -> float:
    """Return the p-value of "samples of one group are no more alike than others", within segments."""
    rows = view.paired(candidate, view.whole.rows)
    d = _within_parts(view, view.candidate(candidate) - view.settings.floor * view.incumbent, rows)
    first = rows[: len(groups)]
    return groups_differ(d[: len(groups)][first], groups[first])


def _pass_rests_on(view: View, candidate: str, groups: IntColumn) -> bool:
    """Return whether any part passes with independent samples but not with the groups as clusters."""
    floor, alpha = view.settings.floor, view.settings.alpha
    first = np.arange(view.evidence.n) < len(groups)
    for part in (view.whole, *view.segments):
        rows = view.paired(candidate, part.rows) & first
        b, c = view.incumbent[rows], view.candidate(candidate)[rows]
        if len(b) < 2 or retention(b, c, floor, alpha, view.clusters_of(rows)).outcome != "pass":
            continue
        if retention(b, c, floor, alpha, groups[rows[: len(groups)]]).outcome != "pass":
            return True
    return False


def _within_parts(view: View, d: FloatColumn, rows: BoolColumn) -> FloatColumn:
    """Return d less the mean of its segment or group, since files are often sorted by those."""
    rest = d.copy()
    for part in view.parts:
        here = part.rows & rows
        if here.any():
            rest[here] -= d[here].mean()
    return rest


def _by_cluster(view: View, d: FloatColumn, asked: NDArray[np.int64]) -> FloatColumn:
    """Return d of the asked rows in their order, or each cluster's mean if clusters were asked as a whole."""
    if view.clusters is None or not len(asked):
        return d[asked]
    labels = view.clusters[asked]
    starts = np.flatnonzero(np.append(True, labels[1:] != labels[:-1]))
    means: FloatColumn = np.add.reduceat(d[asked], starts) / np.diff(np.append(starts, len(asked)))
    return means


def _drifts(d: FloatColumn, alpha: float) -> tuple[bool, str, float]:
    """Return whether consecutive blocks of d differ more than chance explains, which blocks, and the p-value.

    One-way analysis of variance over equal blocks of two sizes: large blocks show a trend, small ones show
    neighbours that are alike. (Bonferroni over the two.)
    """
    if len(d) < limits.DRIFT_MIN_N:
        return False, "", 1.0
    found = []
    for size in (len(d) // limits.DRIFT_BLOCKS, limits.DRIFT_SMALL_BLOCK):
        blocks = len(d) // size
        value = groups_differ(d[: blocks * size], np.repeat(np.arange(blocks), size))
        found.append((min(1.0, 2 * value), f"{blocks:,} consecutive blocks"))
    value, which = min(found)
    return value < alpha, which, value


def suspected_clusters(view: View) -> tuple[str, IntColumn] | None:
    """Return the sign of undeclared clusters in words, and the cluster of each of the first rows.

    Ids and inputs show clusters: `doc7-q1, doc7-q2, doc8-q1 …` has the stems `doc7, doc8, …`, and inputs
    about one document begin alike. None if there is no such sign: a single group, one group per sample,
    and groups that are the declared segments or groups are no sign.
    """
    stems = [_NUMBER_AT_END.sub("", str(name)[:200]) for name in view.evidence.sample_ids[: limits.IDS_READ]]
    found = _codes(view, stems)
    if found is not None:
        return f"have ids with only {len(np.unique(found)):,} stems", found
    found = _codes(view, _beginnings(view))
    if found is not None:
        return f"have inputs with only {len(np.unique(found)):,} beginnings", found
    return None


def _beginnings(view: View) -> list[str]:
    """Return each input's text after the prefix that all inputs share; a short input is its own group."""
    texts = view.evidence.input
    if texts is None:
        return []
    read = ["" if text is None else str(text) for text in texts[: limits.IDS_READ]]
    start, end = beginning_of_inputs(read)
    return [text[start:end] if len(text) >= end else f"\0{row}" for row, text in enumerate(read)]


def beginning_of_inputs(texts: Sequence[str | None]) -> tuple[int, int]:
    """Return where the beginning of an input starts, after the prefix that all share, and where it ends."""
    known = [text for text in texts[: limits.IDS_READ] if text]
    first, last = (min(known), max(known)) if known else ("", "")
    start = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return start, start + limits.BEGINNING


def _codes(view: View, names: list[str]) -> IntColumn | None:
    """Return a number for each name if the names look like clusters, else None."""
    distinct = {name: code for code, name in enumerate(dict.fromkeys(names))}
    if len(distinct) < limits.MIN_CLUSTERS or len(distinct) > limits.EFFECTIVE_SHARE * len(names):
        return None
    labels = view.evidence.segment if view.splittable else view.evidence.group
    if labels is not None and len(set(zip(names, labels[: len(names)], strict=True))) <= len(view.parts):
        return None
    return np.array([distinct[name] for name in names], dtype=np.int64)
