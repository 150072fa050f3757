"""Figures of imported safety reports: what is read of each, against the counts that the tool itself states."""

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks._table import Row
from crossgrade.workloads import Results, read_results

DATA = Path(__file__).parent.parent / "tests" / "data"
GARAK = sorted((DATA / "safety").glob("garak-*.report.jsonl.gz"))
PROMPTFOO = DATA / "log_fixtures" / "promptfoo" / "results.json"


def report_rows() -> list[Row]:
    """Return how many of garak's and promptfoo's own counts are equal to what is imported."""
    return [_garak_row(), _promptfoo_row()]


def _garak_row() -> Row:
    equal = stated = outputs = 0
    for path in GARAK:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            counts = [each for each in map(json.loads, lines) if each["entry_type"] == "eval"]
        read = {
            name: _by_group(read_results(path, metric=name)) for name in {each["detector"] for each in counts}
        }
        for each in counts:
            stated += 1
            outputs += each["total_evaluated"]
            equal += read[each["detector"]][each["probe"]] == (each["passed"], each["fails"], each["nones"])
    return _row(
        "garak's counts by probe and detector equal to those imported",
        equal,
        stated,
        f"two reports of garak 0.17.1: passed, failed and without result, of {outputs} outputs in all",
    )


def _by_group(results: Results) -> dict[str, tuple[int, int, int]]:
    """Return how many answers passed, failed and have no grade, by group."""
    groups, found = results.labels["group"], {}
    for code, name in enumerate(groups.names):
        score = results.score[groups.codes == code]
        found[str(name)] = int((score == 1).sum()), int((score == 0).sum()), int(np.isnan(score).sum())
    return found


def _promptfoo_row() -> Row:
    document = json.loads(PROMPTFOO.read_text(encoding="utf-8"))["results"]
    results = read_results(PROMPTFOO)
    names = {each["promptIdx"]: each["provider"]["label"] for each in document["results"]}
    equal, outcomes = 0, Counter[tuple[str, bool]]()
    for row in range(len(results)):
        outcomes[str(results.models.names[results.models.codes[row]]), bool(results.score[row] == 1)] += 1
    for index, prompt in enumerate(document["prompts"]):
        stated = prompt["metrics"]
        failed = stated["testFailCount"] + stated["testErrorCount"]
        equal += outcomes[names[index], True] == stated["testPassCount"]
        equal += outcomes[names[index], False] == failed
    tests = len(document["results"])
    figure = "promptfoo's counts by model equal to those imported"
    return _row(
        figure, equal, 2 * len(names), f"one report of promptfoo: tests passed and failed, of {tests}"
    )


def _row(figure: str, equal: int, of: int, conditions: str) -> Row:
    return Row(
        figure=figure,
        value=f"{equal} of {of}",
        must="all",
        aim="all",
        holds=equal == of,
        conditions=conditions,
    )
