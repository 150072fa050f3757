"""What is written is read back as the same evidence, whatever tool the results came from."""

from pathlib import Path

import numpy as np
import pytest

from crossgrade.workloads import pair, read_results, write_results
from tests.codes import raises_code

FIXTURES = Path(__file__).parents[2] / "data" / "log_fixtures"
CASES = {
    "inspect": (
        {
            "incumbent": FIXTURES / "inspect" / "tiny_incumbent.eval",
            "candidate": FIXTURES / "inspect" / "tiny_candidate.eval",
        },
        "match",
    ),
    "lm-eval": (
        {
            "incumbent": FIXTURES / "lm_eval" / "incumbent_samples_tiny_math.jsonl",
            "candidate": FIXTURES / "lm_eval" / "candidate_samples_tiny_math.jsonl",
        },
        "exact_match,flexible-extract",
    ),
    "promptfoo": (FIXTURES / "promptfoo" / "results.json", None),
}


@pytest.mark.parametrize("tool", CASES)
def test_written_results_pair_like_the_source(tool: str, tmp_path: Path) -> None:
    source, metric = CASES[tool]
    results = read_results(source, metric=metric)
    rows = write_results(results, tmp_path / "out" / "table.csv")
    again = read_results(tmp_path / "out" / "table.csv")
    incumbent = results.model_names[0]
    before, after = (pair(each, incumbent=incumbent) for each in (results, again))
    assert rows == len(again)
    assert list(before.sample_ids) == list(after.sample_ids)
    np.testing.assert_array_equal(before.incumbent.score, after.incumbent.score)
    np.testing.assert_array_equal(before.candidates[0].score, after.candidates[0].score)
    np.testing.assert_array_equal(before.candidates[0].unparsed, after.candidates[0].unparsed)
    np.testing.assert_array_equal(before.candidates[0].cost_usd, after.candidates[0].cost_usd)


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    results = read_results(FIXTURES / "promptfoo" / "results.json")
    (tmp_path / "file").write_text("")
    with raises_code("file-unwritable"):
        write_results(results, tmp_path / "file" / "table.csv")
