"""Faults planted in evidence of 400 samples whose true retention is 0.80, five points under the floor."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from benchmarks._guard_data import SHARED, Generator, Setting, columns, draw, judged, texts
from crossgrade.decide import DecisionSettings, Evidence, PairingAudit

TRUTH = 0.80
BASE = Setting(name="base", retention=TRUTH)
SEGMENTED = replace(BASE, segments=6)
FLOOR = DecisionSettings(floor=0.85)
DROPPED = replace(FLOOR, errors_count_as_zero=False)
# The share of the scores' own variance that a document must have for these intra-class correlations of d.
OF_DOCUMENT = {0.1: 0.27, 0.3: 0.75}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault and how to plant it; `telling` False: nothing in the evidence differs from sound evidence."""

    name: str
    plant: Callable[[Generator], Evidence]
    settings: DecisionSettings = FLOOR
    telling: bool = True


def _incumbent(evidence: Evidence, **changed: object) -> Evidence:
    return replace(evidence, incumbent=replace(evidence.incumbent, **changed))


def _candidate(evidence: Evidence, **changed: object) -> Evidence:
    return replace(evidence, candidates=(replace(evidence.candidates[0], **changed),))


def _chosen(rng: Generator, n: int, share: float) -> np.ndarray:
    """Return a random share of the rows."""
    found = np.zeros(n, dtype=np.bool_)
    found[rng.permutation(n)[: round(share * n)]] = True
    return found


def _outage(rng: Generator, *, seen: str) -> Evidence:
    evidence = draw(BASE, rng)
    n = evidence.n
    lost = _chosen(rng, n, 0.15)
    if seen == "stretch":
        start = int(rng.integers(n - lost.sum()))
        lost = (np.arange(n) >= start) & (np.arange(n) < start + lost.sum())
    scores = np.where(lost, 0.0, evidence.incumbent.score)
    if seen == "error":
        return _incumbent(evidence, score=np.where(lost, np.nan, scores), error=lost)
    return _incumbent(evidence, score=scores, **({"unparsed": lost} if seen == "empty" else {}))


def _failed_where_wrong(rng: Generator) -> Evidence:
    evidence = draw(BASE, rng)
    wrong = np.flatnonzero(evidence.candidates[0].score < 1)
    error = np.zeros(evidence.n, dtype=np.bool_)
    error[rng.permutation(wrong)[: round(0.15 * evidence.n)]] = True
    return _candidate(evidence, error=error, score=np.where(error, np.nan, evidence.candidates[0].score))


def _truncated(rng: Generator, *, recorded: bool) -> Evidence:
    evidence = draw(BASE, rng)
    cut = _chosen(rng, evidence.n, 0.10)
    known = {"truncated": cut} if recorded else {}
    evidence = _incumbent(evidence, score=np.where(cut, 0.0, evidence.incumbent.score), **known)
    return _candidate(evidence, truncated=np.zeros(evidence.n, dtype=np.bool_)) if recorded else evidence


def _unmatched(rng: Generator) -> Evidence:
    """Leave out samples that the candidate got wrong: its file lacks them."""
    evidence = draw(replace(BASE, n=460), rng)
    wrong = rng.permutation(np.flatnonzero(evidence.candidates[0].score < 1))
    kept = np.setdiff1d(np.arange(evidence.n), wrong[:60])
    audit = PairingAudit(unmatched=60, unmatched_by_candidate={evidence.candidates[0].model: 60})
    return _rows(replace(evidence, audit=audit), kept)


def _rows(evidence: Evidence, rows: np.ndarray) -> Evidence:
    """Return some rows of evidence that has scores, segments and inputs alone."""
    models = [columns(m.model, m.score[rows]) for m in (evidence.incumbent, *evidence.candidates)]
    return replace(
        evidence,
        sample_ids=texts(f"s{at}" for at in range(len(rows))),
        incumbent=models[0],
        candidates=tuple(models[1:]),
        segment=None if evidence.segment is None else evidence.segment[rows],
        input=None if evidence.input is None else evidence.input[rows],
    )


def _misread(rng: Generator, share: float, *, label: str | None = "segment") -> Evidence:
    """Read this share of the incumbent's right answers as wrong, in one of six parts."""
    evidence = draw(SEGMENTED, rng)
    assert evidence.segment is not None
    lost = (evidence.segment == "part 02") & (rng.random(evidence.n) < share)
    evidence = _incumbent(evidence, score=np.where(lost, 0.0, evidence.incumbent.score))
    if label == "segment":
        return evidence
    return replace(evidence, segment=None, group=evidence.segment if label == "group" else None)


def _read_rarely(rng: Generator, *, incumbent: float = 1.0, candidate: float = 1.0) -> Evidence:
    """Read only these shares of the models' right answers, everywhere."""
    evidence = draw(BASE, rng)
    b = np.where(rng.random(evidence.n) < incumbent, evidence.incumbent.score, 0.0)
    c = np.where(rng.random(evidence.n) < candidate, evidence.candidates[0].score, 0.0)
    return _candidate(_incumbent(evidence, score=b), score=c)


def _copies(rng: Generator, *, inputs: bool) -> Evidence:
    """Repeat items at random until two rows in five are copies of another."""
    evidence = draw(replace(BASE, n=240), rng)
    rows = rng.permutation(np.concatenate([np.arange(240), rng.integers(240, size=160)]))
    questions = texts(f"question {at}" for at in range(240)) if inputs else None
    return _rows(replace(evidence, input=questions), rows)


def _documents(rng: Generator, correlation: float, *, seen: str) -> Evidence:
    """Draw 40 documents of ten questions; `seen` says what still tells of them."""
    own = OF_DOCUMENT[correlation]
    document = np.repeat(np.arange(40), 10)
    item = SHARED * rng.standard_normal(400)
    scores = [
        item
        + np.sqrt(1 - SHARED**2)
        * (np.sqrt(own) * rng.standard_normal(40)[document] + np.sqrt(1 - own) * rng.standard_normal(400))
        < ndtri(accuracy)
        for accuracy in (BASE.accuracy, TRUTH * BASE.accuracy)
    ]
    order = np.arange(400) if seen == "order" else rng.permutation(400)
    names = (f"doc{document[at]}-{at % 10}" if seen == "ids" else f"s{at}" for at in order)
    beginnings = (f"{f'Document {document[at]} ' * 20} Question {at}" for at in order)
    return Evidence(
        workload="bench",
        sample_ids=texts(names),
        incumbent=columns("incumbent", scores[0][order].astype(np.float64)),
        candidates=(columns("candidate 0", scores[1][order].astype(np.float64)),),
        input=texts(beginnings) if seen == "inputs" else None,
    )


def _copied(rng: Generator, accuracy: float = 0.8, *, outputs: bool = False) -> Evidence:
    """Give the incumbent's file under the candidate's name."""
    evidence = draw(replace(BASE, accuracy=accuracy), rng)
    answers = texts(f"The answer to this question is that {at} of them were there." for at in range(400))
    output = answers if outputs else None
    return _candidate(_incumbent(evidence, output=output), score=evidence.incumbent.score, output=output)


def _headline(rng: Generator) -> Evidence:
    """Misread a fifth of the incumbent's right answers, whose headline was computed from all of them."""
    evidence = draw(BASE, rng)
    stated = round(float(evidence.incumbent.score.mean()), 3)
    read = np.where(rng.random(evidence.n) < 0.8, evidence.incumbent.score, 0.0)
    return _incumbent(evidence, score=read, stated_mean=stated)


def _labelled(rng: Generator, *, how: str) -> Evidence:
    """Let a lenient judge score, and label 100 of 600 samples that were not drawn at random."""
    evidence = draw(replace(BASE, n=600), rng)

    def pick(scored: Evidence) -> np.ndarray:
        if how == "good":
            return np.flatnonzero(evidence.candidates[0].score > 0.5)[:100]
        gap = scored.candidates[0].score - scored.incumbent.score
        return np.argsort(-gap + 0.6 * rng.random(600))[:100]

    return judged(evidence, pick, rng)


FAULTS = (
    Fault(name="incumbent's outage: 15 % of its calls failed", plant=lambda r: _outage(r, seen="error")),
    Fault(
        name="incumbent's outage: 15 % empty answers, in which nothing was read",
        plant=lambda r: _outage(r, seen="empty"),
    ),
    Fault(name="incumbent's outage: 15 % in a row score 0", plant=lambda r: _outage(r, seen="stretch")),
    Fault(
        name="incumbent's outage: 15 % here and there score 0, with nothing recorded",
        plant=lambda r: _outage(r, seen=""),
        telling=False,
    ),
    Fault(
        name="candidate's failed calls left out: 15 %, which it got wrong",
        plant=_failed_where_wrong,
        settings=DROPPED,
    ),
    Fault(name="10 % of the incumbent's answers cut short", plant=lambda r: _truncated(r, recorded=True)),
    Fault(
        name="10 % of the incumbent's answers cut short, why they ended not recorded",
        plant=lambda r: _truncated(r, recorded=False),
        telling=False,
    ),
    Fault(name="candidate's file lacks 60 of 460 items, which it got wrong", plant=_unmatched),
    Fault(name="incumbent misread in one of 6 segments, half of it", plant=lambda r: _misread(r, 0.5)),
    Fault(name="incumbent misread in one of 6 segments, all of it", plant=lambda r: _misread(r, 1.0)),
    Fault(
        name="incumbent misread in one of 6 groups, half of it",
        plant=lambda r: _misread(r, 0.5, label="group"),
    ),
    Fault(
        name="incumbent misread in a sixth of the items, all of it, without a label",
        plant=lambda r: _misread(r, 1.0, label=None),
        telling=False,
    ),
    Fault(
        name="incumbent read in one answer of three, everywhere",
        plant=lambda r: _read_rarely(r, incumbent=1 / 3),
    ),
    Fault(name="candidate read in one answer of ten", plant=lambda r: _read_rarely(r, candidate=0.1)),
    Fault(name="candidate scores 0 throughout", plant=lambda r: _read_rarely(r, candidate=0.0)),
    Fault(name="incumbent scores 0 throughout", plant=lambda r: _read_rarely(r, incumbent=0.0)),
    Fault(name="40 % copies, questions known", plant=lambda r: _copies(r, inputs=True)),
    Fault(name="40 % copies, scores alone", plant=lambda r: _copies(r, inputs=False), telling=False),
    *(
        Fault(
            name=f"40 undeclared documents of 10, intra-class correlation {icc}, {words}",
            plant=lambda r, icc=icc, seen=seen: _documents(r, icc, seen=seen),
            telling=bool(seen),
        )
        for icc in OF_DOCUMENT
        for seen, words in (
            ("ids", "named in the ids"),
            ("inputs", "at the start of the inputs"),
            ("order", "side by side in the file"),
            ("", "shuffled, nothing recorded"),
        )
    ),
    Fault(name="candidate's file is the incumbent's", plant=_copied),
    Fault(
        name="candidate's file is the incumbent's, answers of a sentence, accuracy 0.95",
        plant=lambda r: _copied(r, 0.95, outputs=True),
    ),
    Fault(
        name="candidate's file is the incumbent's, scores alone, accuracy 0.95",
        plant=lambda r: _copied(r, 0.95),
    ),
    Fault(name="a fifth of the incumbent misread, its headline stated", plant=_headline),
    Fault(name="100 labels of 600: the candidate's good answers", plant=lambda r: _labelled(r, how="good")),
    Fault(
        name="100 labels of 600: those that the judge likes best", plant=lambda r: _labelled(r, how="sorted")
    ),
)
