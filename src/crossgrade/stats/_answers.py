"""Whether two hosts answer alike: a two-sample test on answers to the same questions, in several looks.

The statistic is the maximum mean discrepancy (A. Gretton et al., J. Machine Learning Research 13 (2012)
723-773) of each question's answers, as in Model Equality Testing (I. Gao, P. Liang and C. Guestrin,
arXiv:2410.20247), standardised for each question and added up.

If both hosts draw their answers from the same distribution, it does not matter which answer came from which
host: the answers of a question and stage are exchangeable. Their labels are permuted within question and
stage, and the paths of the statistic over the stages, the observed one among them, have equal chances to be
the most extreme. At each look some of the paths that are still going may be rejected: those with the largest
statistic, at most alpha times the look's number over the number of looks, of all paths, with those rejected
before. So the observed path is rejected at any look with probability of at most alpha, for any number of
answers, without approximation.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from crossgrade.errors import UsageError
from crossgrade.stats._likeness import answer_likeness
from crossgrade.stats._pairs import FloatArray, read_rate

Answers: TypeAlias = Mapping[str, Sequence[str]]
"""The answers of one host: for each question's key its answers in the order asked.

The key stands for the whole question, prompt and settings.
"""

MOST_LISTED = 5
_PERMUTATIONS = 9_999
_MOST_PERMUTATIONS = 1_000_000
_MOST_ANSWERS = 1_000  # to one question, of both hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionDifference:
    """One question: how alike answers are within a host, and from one host to the other, in [0, 1].

    `excess` is the question's share of the statistic, in standard deviations of its permutations.
    """

    key: str
    within: float
    between: float
    excess: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDifference:
    """What the answers of two hosts say after `look` of `looks` stages.

    `differs`: the hosts were shown to differ, wrongly with probability of at most `alpha` over all looks.
    `alike`: after the last look they were not. `open`: another stage is to come. `p_value` is the one of
    this look alone, for display. `statistic` is in standard deviations of the permutations. Without
    `could_differ`, so few answers cannot show a difference up to this look, whatever they are.
    """

    outcome: Literal["differs", "alike", "open"]
    p_value: float
    alpha: float
    look: int
    looks: int
    statistic: float
    questions: int
    n_reference: int
    n_checked: int
    similarity_within: float
    similarity_between: float
    differing: tuple[QuestionDifference, ...]
    could_differ: bool
    method: str = "maximum mean discrepancy, permuted within question and stage"


@dataclass(frozen=True, slots=True)
class _Question:
    """A question's likeness matrix without its diagonal, and the sides of its answers, stage after stage."""

    key: str
    likeness: FloatArray
    stages: tuple[tuple[int, int], ...]


def answers_differ(
    stages: Sequence[tuple[Answers, Answers]],
    *,
    alpha: float = 0.01,
    looks: int = 1,
    seed: int = 0,
    permutations: int = _PERMUTATIONS,
) -> AnswerDifference:
    """Test whether two hosts draw their answers from the same distributions.

    `stages` holds what was asked so far, for each stage the new answers of the reference and of the checked
    host. `looks` is the number of stages that are planned at most. The same arguments give the same result.
    Questions that only one side has answered in a stage are left out of it.

    Raises `UsageError` if no question has answers of both sides, more stages are given than looks, or a rate
    or count is out of range.
    """
    read_rate("alpha", alpha)
    _check(stages, looks, permutations, alpha)
    questions = _questions(stages)
    if not questions:
        raise UsageError(
            "no question has an answer from both sides",
            code="answers-too-few",
            hint="ask both hosts the same questions",
        )
    rng = np.random.default_rng(seed)
    paths = np.zeros((len(stages), permutations + 1))
    observed: list[FloatArray] = []
    for question in questions:
        path = _paths(question, len(stages), permutations, rng)
        observed.append(path[-1])
        paths += path
    rejected = _rejected(paths, alpha, looks)
    last = paths[-1]
    spread = float(last.std()) or 1.0
    found = [_difference(q, float(path[0])) for q, path in zip(questions, observed, strict=True)]
    counts = np.array([np.sum(q.stages, axis=0) for q in questions])
    return AnswerDifference(
        outcome="differs" if rejected else "alike" if len(stages) == looks else "open",
        p_value=float((last >= last[0]).mean()),
        alpha=alpha,
        look=len(stages),
        looks=looks,
        statistic=float(last[0] - last.mean()) / spread,
        questions=len(questions),
        n_reference=int(counts[:, 0].sum()),
        n_checked=int(counts[:, 1].sum()),
        similarity_within=float(np.mean([each.within for each in found])),
        similarity_between=float(np.mean([each.between for each in found])),
        differing=tuple(sorted(found, key=lambda each: -each.excess)[:MOST_LISTED]),
        could_differ=1 / (1 + permutations) + _least_p(questions) <= alpha * len(stages) / looks,
    )


def _least_p(questions: Sequence[_Question]) -> float:
    """Return the share of labels that give the largest statistic possible, if only one division gives it.

    Where a question has as many answers of both hosts, exchanging the two changes nothing.
    """
    ways = 0.0
    for question in questions:
        first, second = np.sum(question.stages, axis=0)
        ways += sum(math.log(math.comb(a + b, a)) for a, b in question.stages) - math.log(2) * (
            first == second
        )
    return math.exp(-ways)


def _questions(stages: Sequence[tuple[Answers, Answers]]) -> list[_Question]:
    """Gather each question's answers: of each stage the reference's, then the checked host's."""
    keys = dict.fromkeys(key for stage in stages for side in stage for key in side)
    found = []
    for key in keys:
        texts: list[str] = []
        counts: list[tuple[int, int]] = []
        for reference, checked in stages:
            first, second = reference.get(key, ()), checked.get(key, ())
            both = bool(first) and bool(second)
            counts.append((len(first), len(second)) if both else (0, 0))
            texts += [*first, *second] if both else []
        if texts:
            _check_size(key, len(texts))
            likeness = answer_likeness(texts)
            np.fill_diagonal(likeness, 0.0)
            found.append(_Question(key, likeness, tuple(counts)))
    return found


def _paths(question: _Question, looks: int, permutations: int, rng: np.random.Generator) -> FloatArray:
    """Return the standardised statistic after each stage, shape (looks, 1 + permutations), observed first."""
    n = len(question.likeness)
    is_first = np.zeros((1 + permutations, n))
    paths = np.zeros((looks, 1 + permutations))
    end = 0
    for look, (first, second) in enumerate(question.stages):
        part = is_first[:, end : end + first + second]
        part[:, :first] = 1.0
        part[1:] = rng.permuted(part[1:], axis=1)
        end += first + second
        discrepancy = _discrepancy(question.likeness[:end, :end], is_first[:, :end])
        spread = float(discrepancy.std())
        if spread > 1e-12:
            paths[look] = (discrepancy - discrepancy.mean()) / spread
    return paths


def _discrepancy(likeness: FloatArray, is_first: FloatArray) -> FloatArray:
    """Return the unbiased squared maximum mean discrepancy for each row of labels, without the diagonal."""
    n = likeness.shape[0]
    if not n:
        return np.zeros(len(is_first))
    a = float(is_first[0].sum())
    b = n - a
    towards = is_first @ likeness
    within_first = (towards * is_first).sum(axis=1)
    across = towards.sum(axis=1) - within_first
    within_second = likeness.sum() - within_first - 2 * across
    found: FloatArray = (
        within_first / max(a * (a - 1), 1.0) + within_second / max(b * (b - 1), 1.0) - 2 * across / (a * b)
    )
    return found


def _rejected(paths: FloatArray, alpha: float, looks: int) -> bool:
    """Return whether the first path is among those that are rejected at one of its looks."""
    going = np.ones(paths.shape[1], dtype=bool)
    for look, values in enumerate(paths, start=1):
        quota = int(alpha * look / looks * paths.shape[1] + 1e-9) - int((~going).sum())
        ordered = np.sort(values[going])
        as_large = len(ordered) - np.searchsorted(ordered, values - 1e-9)
        out = going & (as_large <= quota)
        if out[0]:
            return True
        going &= ~out
    return False


def _difference(question: _Question, excess: float) -> QuestionDifference:
    is_first = np.concatenate([np.repeat([1.0, 0.0], stage) for stage in question.stages])
    likeness, rest = question.likeness, 1.0 - is_first
    a, b = float(is_first.sum()), float(rest.sum())
    pairs = a * (a - 1) + b * (b - 1)
    inside = float(is_first @ likeness @ is_first + rest @ likeness @ rest)
    across = float(is_first @ likeness @ rest) / (a * b)
    return QuestionDifference(
        key=question.key, within=inside / pairs if pairs else 1.0, between=across, excess=excess
    )


def _check(stages: Sequence[tuple[Answers, Answers]], looks: int, permutations: int, alpha: float) -> None:
    if not 1 <= len(stages) <= looks:
        raise UsageError(
            f"there are {len(stages)} stages and {looks} looks; 1 to as many stages as looks are expected",
            code="looks-invalid",
            hint="plan the number of looks before the first answer",
        )
    if not looks / alpha <= permutations + 1 <= _MOST_PERMUTATIONS:
        raise UsageError(
            f"{permutations} permutations show no difference at an error rate of {alpha:g} in {looks} looks",
            code="permutations-invalid",
            hint=f"ask for at least {looks / alpha:.0f}, and at most {_MOST_PERMUTATIONS:,}",
        )


def _check_size(key: str, n: int) -> None:
    if n > _MOST_ANSWERS:
        raise UsageError(
            f"question {key!r} has {n:,} answers; at most {_MOST_ANSWERS:,} are compared",
            code="answers-too-many",
            hint="compare fewer answers a question",
        )
