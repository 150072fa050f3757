"""The two-sample test on answers: false alarms, and power beside Model Equality Testing on the same answers.

Model Equality Testing 0.0.2 takes seconds for one test of 500 answers, most of them for 1,000 permutations of its
statistic one by one. `_PeerRule` computes the same statistic of all permutations at once. It is compared with the
package itself where MODEL_EQUALITY_TESTING names a Python that has it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._conform_answers import PROMPTS, WARM, recorded
from benchmarks._table import Row
from crossgrade.stats import Answers, answers_differ

_SEED = 20261129
_REPLAYS = 1_000
_LOOKS = (2, 3, 5)
_TESTS = 400
_EACH = 10
_PERMUTATIONS = 999
_LEVELS = (0.05, 0.01)
_CHILD = Path(__file__).parent / "_conform_peer_child.py"
OTHERS = {
    "q4/warm": "Q4_0 for Q8_0",
    "cooler/warm": "temperature 0.3 for 0.4",
    "untaught/warm": "no chat template",
}

Floats = NDArray[np.float64]


def false_alarm_rows() -> list[Row]:
    """How often two checks of one host are said to differ, in three looks at a nominal 1 %."""
    rng = np.random.default_rng(_SEED)
    wrong, looks = 0, []
    for run in range(_REPLAYS):
        stages = [(_resampled("q8/warm", n, rng), _resampled("q8/warm", n, rng)) for n in _LOOKS]
        for look in range(1, len(_LOOKS) + 1):
            found = answers_differ(
                stages[:look], alpha=0.01, looks=len(_LOOKS), seed=run, permutations=_PERMUTATIONS
            )
            if found.outcome != "open":
                break
        wrong += found.outcome == "differs"
        looks.append(found.look)
    conditions = (
        f"of {_REPLAYS:,} replays of a healthy check at alpha 0.01; three looks after 2, 5 and 10 answers to each of "
        f"{len(PROMPTS)} questions from both sides; answers of SmolLM2-135M-Instruct in Q8_0 at temperature {WARM:g}, drawn "
        f"with replacement for both sides; seed {_SEED}"
    )
    return [
        Row(
            figure="false alarms of the answer test at a nominal 1 %",
            value=float(wrong), unit=f"of {_REPLAYS:,}", must="≤ 19", aim="≤ 10", holds=wrong <= 19,
            conditions=conditions,
        )
    ]  # fmt: skip


def power_rows() -> list[Row]:
    """Power at ten answers a question from each side, ours and the peer's on the same answers."""
    tests = {name: _both(name) for name in ("q8/warm", *OTHERS, "own/warm")}
    rows: list[Row] = []
    null = tests["q8/warm"]
    for level in _LEVELS:
        cuts = [np.quantile(side, level, method="lower") for side in (null.ours, null.peers)]
        powers = {
            name: [float((side <= cut).mean()) for side, cut in zip((t.ours, t.peers), cuts, strict=True)]
            for name, t in tests.items()
        }
        ours, peers = (float(np.mean([powers[name][side] for name in OTHERS])) for side in (0, 1))
        each = "; ".join(
            f"{label} {powers[name][0]:.3f} and {powers[name][1]:.3f}" for name, label in OTHERS.items()
        )
        nominal = [float((side <= level).mean()) for side in (null.ours, null.peers)]
        rows.append(
            Row(
                figure=f"power of the answer test over Model Equality Testing's, at {level:.0%} false alarms",
                value=ours / peers, unit="×", must="≥ 0.95", aim="≥ 1.1", holds=ours / peers >= 0.95,
                peers={"Model Equality Testing's power": peers, "ours": ours},
                conditions=(
                    f"{_EACH} answers to each of {len(PROMPTS)} questions from each side, the same for both tests; ours "
                    f"and theirs: {each}; the same weights as Q4_1 and Q8_0 {powers['own/warm'][0]:.3f} and "
                    f"{powers['own/warm'][1]:.3f}; thresholds at which {_TESTS} healthy comparisons alarm in {level:.0%}; "
                    f"at the nominal level they alarm in {nominal[0]:.3f} and {nominal[1]:.3f}; {_TESTS} tests each, "
                    f"{_PERMUTATIONS} permutations; drawn without replacement from recorded answers; seed {_SEED}"
                ),
            )
        )  # fmt: skip
    rows.append(_agreement_row())
    return rows


@dataclass(frozen=True)
class _PValues:
    """The p-values of both tests on the same answers."""

    ours: Floats
    peers: Floats


def _both(other: str) -> _PValues:
    rng = np.random.default_rng([_SEED, *other.encode()])
    ours, peers = [], []
    for run in range(_TESTS):
        reference, checked = _without_replacement("q8/warm", other, rng)
        ours.append(
            answers_differ([(reference, checked)], alpha=0.01, seed=run, permutations=_PERMUTATIONS).p_value
        )
        peers.append(_PeerRule(reference, checked).p_value(_PERMUTATIONS, rng))
    return _PValues(np.array(ours), np.array(peers))


class _PeerRule:
    """Model Equality Testing's maximum mean discrepancy with the Hamming kernel on characters.

    Labels are permuted over all questions, and pairs of answers to different questions do not count.
    """

    def __init__(self, reference: Answers, checked: Answers) -> None:
        texts = [text for side in (reference, checked) for key in sorted(side) for text in side[key]]
        keys = np.array([key for side in (reference, checked) for key in sorted(side) for _ in side[key]])
        self.n_reference = sum(map(len, reference.values()))
        longest = max(map(len, texts))
        codes = np.array([[*map(ord, text), *[-1] * (longest - len(text))] for text in texts], dtype=np.int32)
        self.same = (keys[:, None] == keys[None]) & ~np.eye(len(keys), dtype=bool)
        self.kernel = np.zeros(self.same.shape)
        for row, code in enumerate(codes):
            others = np.flatnonzero(self.same[row])
            self.kernel[row, others] = (codes[others] == code).mean(axis=1)

    def statistic(self, is_first: Floats) -> Floats:
        """Return the statistic for each row of labels."""
        rest = 1 - is_first
        parts = []
        for matrix in (self.kernel, self.same.astype(np.float64)):
            first, second = is_first @ matrix, rest @ matrix
            parts.append(np.stack([(first * is_first).sum(1), (first * rest).sum(1), (second * rest).sum(1)]))
        within_first, across, within_second = parts[0] / parts[1]
        found: Floats = within_first - 2 * across + within_second
        return found

    def p_value(self, permutations: int, rng: np.random.Generator) -> float:
        """Return the share of permutations, the observed labels among them, that are as extreme."""
        labels = np.zeros((permutations + 1, len(self.kernel)))
        labels[:, : self.n_reference] = 1
        labels[1:] = rng.permuted(labels[1:], axis=1)
        values = self.statistic(labels)
        return float((values >= values[0] - 1e-12).mean())

    def observed(self) -> float:
        """Return the statistic of the answers as they are."""
        return float(self.statistic(np.arange(len(self.kernel))[None] < self.n_reference)[0])


def _agreement_row() -> Row:
    """The largest difference of the peer's statistic between its package and what is computed here."""
    python = os.environ.get("MODEL_EQUALITY_TESTING")
    figure = "Model Equality Testing's statistic, its package against ours, largest difference"
    if not python:
        return Row(
            figure=figure, value=None, conditions="MODEL_EQUALITY_TESTING names no Python with the package"
        )
    rng = np.random.default_rng(_SEED)
    jobs = [_without_replacement("q8/warm", other, rng) for other in (*OTHERS, "q8/warm")]
    run = subprocess.run(
        [python, _CHILD], input=json.dumps(jobs), capture_output=True, text=True, check=True, timeout=900
    )
    answer = json.loads(run.stdout)
    worst = max(
        abs(theirs - _PeerRule(*job).observed())
        for theirs, job in zip(answer["statistics"], jobs, strict=True)
    )
    return Row(
        figure=figure, value=worst, must="≤ 1e-9", holds=worst <= 1e-9,
        conditions=f"model-equality-testing {answer['version']}; {len(jobs)} pairs of 250 answers",
    )  # fmt: skip


def _resampled(host: str, n: int, rng: np.random.Generator) -> Mapping[str, list[str]]:
    return {key: _chosen(pool, rng.integers(len(pool), size=n)) for key, pool in recorded()[host].items()}


def _without_replacement(host: str, other: str, rng: np.random.Generator) -> tuple[Answers, Answers]:
    """Return ten answers of each side to each question; of one host, no answer is on both sides."""
    first, second = {}, {}
    for key, pool in recorded()[host].items():
        at = rng.permutation(len(pool))
        first[key] = _chosen(pool, at[:_EACH])
        others = recorded()[other][key]
        second[key] = _chosen(
            others, at[_EACH : 2 * _EACH] if host == other else rng.permutation(len(others))[:_EACH]
        )
    return first, second


def _chosen(pool: list[str], at: Iterable[int]) -> list[str]:
    return [pool[i] for i in at]


if __name__ == "__main__":
    print(
        json.dumps(power_rows() if "power" in sys.argv else false_alarm_rows(), indent=1, ensure_ascii=False)
    )
