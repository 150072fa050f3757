"""What peers' rules say of tables of right and wrong answers; run by the Python of their own environment.

Reads one job from standard input, a peer and its cells, and writes what its rules decided of each table.
It imports nothing of this repository. Every rule is called as its package has it, told the margin.
"""

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version

import numpy as np

Table = tuple[int, int, int, int]
"""Pairs: both right, only the incumbent, only the candidate, both wrong."""

Rule = Callable[[Table], tuple[bool, ...]]
"""Whether each rule of a peer ships the candidate."""


def answers(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of incumbent and candidate, pair by pair."""
    both, only_b, only_c, neither = table
    b = np.repeat([1.0, 1.0, 0.0, 0.0], [both, only_b, only_c, neither])
    c = np.repeat([1.0, 0.0, 1.0, 0.0], [both, only_b, only_c, neither])
    return b, c


def statgate(cell: dict) -> Rule:
    """`statgate compare`: SHIP where the BCa interval of the mean difference lies above -margin."""
    from statgate.config import GateSettings
    from statgate.records import EvalRecord
    from statgate.verdict import Verdict, evaluate_gate

    # The permutation p-value is printed beside the verdict and has no part in it.
    settings = GateSettings(margin=cell["margin"], seed=1, permutations=100)

    def ships(table: Table) -> tuple[bool]:
        sides = (
            [EvalRecord(case_id=f"{i:05d}", score=float(score)) for i, score in enumerate(side)]
            for side in answers(table)
        )
        return (evaluate_gate(*sides, settings).verdict is Verdict.SHIP,)

    return ships


def illate(cell: dict) -> Rule:
    """`illate-parity check`: PASS where the percentile interval of the difference is not below -margin."""
    from illate_parity.bootstrap import fast_paired_accuracy
    from illate_parity.parity import verdict

    def ships(table: Table) -> tuple[bool]:
        b, c = answers(table)
        found = fast_paired_accuracy(np.ones(len(b)), b, c, seed=2)
        return (verdict(found["low"], found["high"], cell["margin"]) == "PASS",)

    return ships


def evalshift(cell: dict) -> Rule:
    """EvalShift's analysis and policy: `pass`, with the true rate of losses at the floor as the budget."""
    from evalshift_cli.analysis import statistics
    from evalshift_cli.analysis.policy import evaluate_migration_policy
    from evalshift_cli.analysis.slicing import SlicedScore
    from evalshift_cli.config.models import MigrationPolicy
    from evalshift_cli.evaluators.base import EvalRecord

    # The bootstrap interval of the effect size is printed and has no part in the verdict.
    statistics._bootstrap_d_ci.__kwdefaults__["resamples"] = 2  # noqa: SLF001 -- its interval is not read
    losses = cell["shares"][1]
    policy = MigrationPolicy(max_overall_regression_rate=losses, min_equivalence_rate=1 - losses)

    def ships(table: Table) -> tuple[bool]:
        pairs = list(zip(*(side.tolist() for side in answers(table)), strict=True))
        scores = [
            {"prompt_id": "p", "example_id": str(i), "evaluator_name": "exact", "kind": "exact",
             "source_score": b, "target_score": c, "delta": c - b}
            for i, (b, c) in enumerate(pairs)
        ]  # fmt: skip
        decision = evaluate_migration_policy(
            run_id="r",
            source_model="a",
            target_model="b",
            policy=policy,
            comparisons=statistics.analyze(
                sliced_by_slice={"all": [SlicedScore(**score) for score in scores]}
            ),
            records=[EvalRecord(run_id="r", **score) for score in scores],
            calls=[],
        )
        return (decision.verdict == "pass",)

    return ships


def migration_kit(cell: dict) -> Rule:
    """model-migration-kit: its Mann-Whitney test finds no regression, and the whole verdict is GO."""
    from model_migration_kit.comparison import compare
    from model_migration_kit.judging import JudgedArtifact, JudgeRecord, Thresholds

    thresholds = Thresholds(
        pass_rate_floor=cell["accuracy"] - cell["margin"], min_detectable_effect=cell["margin"]
    )

    def side(name: str, scores: np.ndarray) -> JudgedArtifact:
        records = tuple(
            JudgeRecord(judge="j", item_id=str(i), sample_index=0, passed=bool(score), score=1 + 4 * score)
            for i, score in enumerate(scores.tolist())
        )
        return JudgedArtifact(
            model_id=name,
            goldenset_hash="g",
            judges_hash="h",
            n_per_item=1,
            records=records,
            judges=({"name": "j"},),
        )

    def ships(table: Table) -> tuple[bool, bool]:
        b, c = answers(table)
        report = compare(side("a", b), side("b", c), thresholds=thresholds)
        return not report.judges[0].regressed, report.verdict == "GO"

    return ships


RULES = {
    "statgate": statgate,
    "illate-parity": illate,
    "evalshift": evalshift,
    "model-migration-kit": migration_kit,
}


def sprt_rate(cell: dict) -> float:
    """Share of streams that statgate's sequential test ships: batches of 25 up to n, as it has them."""
    from statgate.config import GateSettings, SequentialSettings
    from statgate.core.sequential import MixtureSPRT

    gate, settings = GateSettings(margin=cell["margin"]), SequentialSettings(max_cases=cell["n"])
    rng = np.random.default_rng(cell["seed"])
    shipped = 0
    for _ in range(cell["runs"]):
        diffs = rng.choice([0.0, -1.0, 1.0, 0.0], size=cell["n"], p=cell["shares"])
        test = MixtureSPRT(
            theta0=-gate.margin, alpha=gate.alpha, tau=settings.tau, min_samples=settings.min_samples
        )
        for start in range(0, cell["n"], settings.batch_size):
            decision = test.update(diffs[start : start + settings.batch_size])
            if decision.decided:
                shipped += decision.direction > 0
                break
    return shipped / cell["runs"]


def decide(package: str, cells: list[dict], *, in_sequence: bool) -> Iterator[list | float]:
    """Yield for each cell what the rules say of each of its tables, or the rate of a sequential rule."""
    for cell in cells:
        if in_sequence:
            yield sprt_rate(cell)
        else:
            ships = RULES[package](cell)
            yield [[bool(shipped) for shipped in ships(table)] for table in cell["tables"]]


if __name__ == "__main__":
    job = json.load(sys.stdin)
    found = list(decide(job["package"], job["cells"], in_sequence=job["in_sequence"]))
    json.dump({"version": version(job["package"]), "found": found}, sys.stdout)
