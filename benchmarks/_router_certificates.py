"""How much of the traffic a router's certificate moves, and how often it is wrong, on published pairs.

Each training set of 3,000 items trains a router. The pool of the other items is the truth: samples are drawn from
it with replacement, so that what the router really keeps at each threshold is known. One of the 57 subjects has
labels that are mostly wrong. Rows on "sound subjects" leave it out, as the guards do. Rows on "labels as published"
keep it, to be compared with figures that were taken on all of them. What must be reached at a floor of the whole
was set on these, and stands beside both.
"""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from importlib.resources import files
from itertools import repeat
from typing import Literal, TypeAlias

import numpy as np

from benchmarks._table import Row
from crossgrade.decide import DecisionSettings, Evidence, ModelColumns, train_router
from crossgrade.decide._certify import tested_hypotheses
from crossgrade.decide._guards import GUARDS
from crossgrade.decide._router import certifying
from crossgrade.decide._topics import discover
from crossgrade.decide._view import make_view
from crossgrade.routing import position

TRAINING = 3000
WHOLE_TRAINING = 7000
SETS = 10
DRAWS = 500
DISCOVERED_DRAWS = 200
FRESH = 2000
STEPS = 8
FAULTY = "high_school_mathematics"
FLOOR = DecisionSettings(mode="fixed", floor=0.85)
WHOLE = DecisionSettings(mode="fixed", floor=0.5, whole_floor=0.95)
"""A floor of the whole, beside one of what moves that hardly asks anything of these models."""
Items: TypeAlias = Literal["sound", "published"]
_HALF = "the half that trains a router"


def rows() -> list[Row]:
    """Return the certified shares and the wrong certificates."""
    with ProcessPoolExecutor() as pool:
        return list(_rows(pool))


def _rows(pool: ProcessPoolExecutor) -> Iterator[Row]:
    for n, must, aim in ((1000, 0.15, 0.30), (2000, 0.42, 0.60)):
        found = np.array(list(pool.map(_set, range(SETS), repeat(n), repeat(FLOOR), repeat(TRAINING))))
        share, wrong, best = found.mean(axis=0)
        conditions = (
            f"floor 0.85 on what moves, a table of 56 sound subjects from {TRAINING:,} other items, the best "
            f"possible share {best:.2f}; {SETS} training sets, {DRAWS} draws each"
        )
        yield {
            "figure": f"certified share moved on MMLU, n = {n:,}",
            "value": float(share),
            "unit": "",
            "must": f">= {must:g}",
            "aim": f">= {aim:g}",
            "holds": bool(share >= must),
            "conditions": conditions,
        }
        yield {
            "figure": f"wrong certificates on MMLU, n = {n:,}",
            "value": float(wrong),
            "unit": "",
            "must": "<= 0.055",
            "aim": "<= 0.05",
            "holds": bool(wrong <= 0.055),
            "conditions": conditions,
        }
    yield _at_the_floor(pool, FLOOR, TRAINING, "the floor is the retention of a step")


def whole_rows() -> list[Row]:
    """Return the certified shares and the wrong certificates where the whole has a floor."""
    with ProcessPoolExecutor() as pool:
        return list(_whole_rows(pool))


def _whole_rows(pool: ProcessPoolExecutor) -> Iterator[Row]:
    for n, must, aim in ((1000, 0.35, 0.40), (2000, 0.42, 0.45)):
        asked = (range(SETS), repeat(n), repeat(WHOLE), repeat(WHOLE_TRAINING))
        found = np.array(list(pool.map(_set, *asked, repeat("published"))))
        yield _whole_row("a table of 57 subjects, labels as published", n, found, DRAWS, must, aim)
        found = np.array(list(pool.map(_set, *asked)))
        yield _whole_row("a table of 56 sound subjects", n, found, DRAWS, must, aim)
        both = repeat(replace(WHOLE, floor=0.85))
        found = np.array(list(pool.map(_set, range(SETS), repeat(n), both, repeat(WHOLE_TRAINING))))
        yield _whole_row("a table of 56 sound subjects", n, found, DRAWS, beside=0.85)
    what = "the floor of the whole is what a step keeps of it"
    yield _at_the_floor(pool, WHOLE, WHOLE_TRAINING, what)


def _whole_row(
    router: str,
    n: int,
    found: np.ndarray,
    draws: int,
    must: float | None = None,
    aim: float = 0.0,
    beside: float = WHOLE.floor,
) -> Row:
    """Return the certified share where the whole has the floor 0.95, `beside` that of what moves."""
    share, wrong, best = found.mean(axis=0)
    row: Row = {
        "figure": f"certified share moved on MMLU at the floor 0.95 of the whole, {beside:g} of what moves, {router}, n = {n:,}",
        "value": float(share),
        "unit": "",
        "conditions": (
            f"trained on {WHOLE_TRAINING:,} other items, the best possible share {best:.2f}; {wrong:.1%} wrong; "
            f"{len(found)} training sets, {draws} draws each"
        ),
    }
    if must is None:
        return row
    return {**row, "must": f">= {must:g}", "aim": f">= {aim:g}", "holds": bool(share >= must)}


def whole_text_rows(
    texts: Sequence[str], b: np.ndarray, c: np.ndarray, what: str, musts: Mapping[int, tuple[float, float]]
) -> Iterator[Row]:
    """Yield the certified share at a floor of the whole that a router moves which knows texts alone.

    `musts` has what must be reached and what is aimed at, for each number of samples that is to reach it.
    """
    names, pools = _names(len(b), WHOLE_TRAINING), list[Evidence]()
    for seed in range(SETS):
        order = np.random.default_rng(seed).permutation(len(b))
        evidence = _evidence(b[order], c[order], None, names)
        asked = np.array([texts[row] for row in order.tolist()], dtype=np.object_)
        pools.append(certifying(train_router(replace(evidence, input=asked), WHOLE)))
    for n in (1000, 2000):
        found = [_shares(pool, seed, n, WHOLE, DISCOVERED_DRAWS) for seed, pool in enumerate(pools)]
        router = f"a router without subjects, {what}"
        yield _whole_row(router, n, np.array(found), DISCOVERED_DRAWS, *musts.get(n, ()))


def discovered_rows(texts: Sequence[str], b: np.ndarray, c: np.ndarray) -> list[Row]:
    """Return the certified share that segments move which are discovered in texts, without labels."""
    found = np.array([_discovered(seed, texts, b, c) for seed in range(SETS)])
    share, wrong, best = found.mean(axis=0)
    return [
        {
            "figure": "certified share moved on MMLU by discovered segments, n = 2,000",
            "value": float(share),
            "unit": "",
            "must": ">= 0.25",
            "aim": ">= 0.38",
            "holds": bool(share >= 0.25),
            "conditions": (
                f"without subjects; floor 0.85 on what moves; a table of at most 12 segments discovered in "
                f"{TRAINING:,} other items of 56 sound subjects, the best possible share {best:.2f}; "
                f"{wrong:.1%} wrong; {SETS} training sets, {DISCOVERED_DRAWS} draws each"
            ),
        }
    ]


def _discovered(seed: int, texts: Sequence[str], b: np.ndarray, c: np.ndarray) -> tuple[float, float, float]:
    order = np.random.default_rng(seed).permutation(len(b))
    found = discover([texts[row] for row in order[:TRAINING].tolist()], seed)
    assert found is not None
    labels = np.array([found.topics.of(texts[row]) for row in order.tolist()], dtype=np.object_)
    evidence = _evidence(b[order], c[order], labels, _names(len(b), TRAINING))
    pool = certifying(train_router(evidence, FLOOR))
    return _shares(pool, seed, 2000, FLOOR, DISCOVERED_DRAWS)


def _at_the_floor(pool: ProcessPoolExecutor, settings: DecisionSettings, training: int, what: str) -> Row:
    """Return how often a step is certified whose true retention is just below the floor.

    The floor is set to each threshold's own true retention in turn, so that the sequence ends in a false step.
    The worst of the steps is then drawn again, since the largest of several estimates is too large.
    """
    found = np.array(list(pool.map(_steps, range(SETS), repeat(settings), repeat(training))))
    rates = found.mean(axis=0)
    worst = int(rates.argmax())
    again = pool.map(_fresh, range(SETS), repeat(settings), repeat(training), repeat(worst))
    value = float(np.mean(list(again)))
    return {
        "figure": f"wrong certificates where {what}, the worst step",
        "value": value,
        "unit": "",
        "must": "<= 0.055",
        "aim": "<= 0.05",
        "holds": value <= 0.055,
        "conditions": f"n = 1,000; MMLU, {SETS} training sets; of {len(rates)} steps with {DRAWS} draws each the worst "
        f"had {rates.max():.4f}, and then in {FRESH:,} fresh draws each this",
    }


@cache
def _items(which: Items) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the incumbent's and the candidate's scores and the subjects of the items.

    `published` are all of them.
    """
    packed = (files("crossgrade") / "data" / "demo" / "mmlu.csv.gz").read_bytes()
    lines = gzip.decompress(packed).decode().splitlines()[1:]
    columns = [line.split(",") for line in lines if which == "published" or f",{FAULTY}," not in line]
    subjects = np.array([row[1] for row in columns], dtype=np.object_)
    return (
        np.array([float(row[2]) for row in columns]),
        np.array([float(row[3]) for row in columns]),
        subjects,
    )


def _pool(seed: int, settings: DecisionSettings, training: int, items: Items = "sound") -> Evidence:
    """Return the items that did not train a router, with their scores by it; no guard looks at published ones."""
    b, c, subject = _items(items)
    order = np.random.default_rng(seed).permutation(len(b))
    evidence = _evidence(b[order], c[order], subject[order], _names(len(b), training))
    return certifying(train_router(evidence, settings, {} if items == "published" else GUARDS))


@cache
def _names(n: int, training: int) -> tuple[str, ...]:
    """Return names of which the first `training` are of the training half and the others are not."""
    first, others, at = list[str](), list[str](), 0
    while len(first) < training or len(others) < n - training:
        name = f"item {at}"
        (first if position(name, _HALF) < 0.5 else others).append(name)
        at += 1
    return (*first[:training], *others[: n - training])


def _evidence(b: np.ndarray, c: np.ndarray, subject: np.ndarray | None, names: tuple[str, ...]) -> Evidence:
    return Evidence(
        workload="MMLU",
        sample_ids=np.array(names, dtype=np.object_),
        incumbent=_columns("gpt-4-1106-preview", b),
        candidates=(_columns("mixtral-8x7b", c),),
        segment=subject,
    )


def _columns(model: str, score: np.ndarray) -> ModelColumns:
    nothing, unknown = np.zeros(len(score), dtype=np.bool_), np.full(len(score), np.nan)
    return ModelColumns(
        model=model,
        score=score,
        error=nothing,
        unparsed=nothing,
        cost_usd=unknown,
        latency_ms=unknown,
        ttft_ms=unknown,
    )


def _set(
    seed: int, n: int, settings: DecisionSettings, training: int, items: Items = "sound"
) -> tuple[float, float, float]:
    """Return the mean certified share, how often a certificate is wrong, and the best possible share."""
    return _shares(_pool(seed, settings, training, items), seed, n, settings, DRAWS)


def _shares(
    pool: Evidence, seed: int, n: int, settings: DecisionSettings, draws: int
) -> tuple[float, float, float]:
    share, kept, kept_whole = _truth(pool)
    holds = (kept >= settings.floor) & (kept_whole >= (settings.whole_floor or 0.0))
    rng = np.random.default_rng((seed, n))
    certified = [_certified(pool, rng.integers(0, pool.n, n), settings) for _ in range(draws)]
    moved = [share[count - 1] if count else 0.0 for count in certified]
    wrong = [not holds[:count].all() for count in certified]
    return float(np.mean(moved)), float(np.mean(wrong)), float(share[holds].max(initial=0.0))


def _steps(seed: int, settings: DecisionSettings, training: int) -> list[float]:
    """Return for each of the first steps how often it is certified where a floor is its own retention."""
    pool = _pool(seed, settings, training)
    return [_at_step(pool, settings, step, DRAWS, seed=(seed, 3)) for step in range(STEPS)]


def _fresh(seed: int, settings: DecisionSettings, training: int, step: int) -> float:
    """Return how often one step is certified where a floor is its own retention, in fresh draws."""
    return _at_step(_pool(seed, settings, training), settings, step, FRESH, seed=(seed, 4))


def _at_step(
    pool: Evidence, settings: DecisionSettings, step: int, draws: int, seed: tuple[int, int]
) -> float:
    _, kept, kept_whole = _truth(pool)
    if step >= len(kept):
        return 0.0
    if settings.whole_floor is None:
        at_step = replace(settings, floor=float(kept[step]))
    else:
        at_step = replace(settings, whole_floor=float(kept_whole[step]))
    rng, up_to = np.random.default_rng((*seed, step)), _first_steps(pool, step + 1)
    samples = (rng.integers(0, pool.n, 1000) for _ in range(draws))
    return float(np.mean([_certified(up_to, sample, at_step) > step for sample in samples]))


def _first_steps(pool: Evidence, count: int) -> Evidence:
    """Return the pool with a router that has only the first thresholds: later ones come too late to matter."""
    routing = pool.routing
    assert routing is not None
    assert routing.router is not None
    router = replace(routing.router, thresholds=routing.router.thresholds[:count])
    return replace(pool, routing=replace(routing, router=router))


def _truth(pool: Evidence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the share that each threshold moves in the pool, and what it keeps of that and of the whole."""
    routing = pool.routing
    assert routing is not None
    assert routing.router is not None
    assert routing.score is not None
    b, c = pool.incumbent.score, pool.candidates[0].score
    moved = [routing.score >= least for least in routing.router.thresholds]
    return (
        np.array([each.mean() for each in moved]),
        np.array([c[each].sum() / b[each].sum() for each in moved]),
        np.array([np.where(each, c, b).sum() / b.sum() for each in moved]),
    )


def _certified(pool: Evidence, draw: np.ndarray, settings: DecisionSettings) -> int:
    """Return how many thresholds, from the strictest on, these samples certify."""
    routing = pool.routing
    assert routing is not None
    assert routing.score is not None
    sample = _evidence(
        pool.incumbent.score[draw],
        pool.candidates[0].score[draw],
        None if pool.segment is None else pool.segment[draw],
        tuple(map(str, range(len(draw)))),
    )
    scores = replace(routing, trained=np.zeros(len(draw), dtype=np.bool_), score=routing.score[draw])
    view = make_view(replace(sample, routing=scores), settings)
    passes = [one.p <= view.settings.alpha for one in tested_hypotheses(view, ())]
    return passes.index(False) if False in passes else len(passes)
