"""Results in memory: frames and records are read as tables, and a verdict shows itself."""

import math
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from crossgrade import decide_results
from crossgrade.project import ShownVerdict
from crossgrade.store import Store
from tests.codes import raises_code

NOW = datetime(2026, 11, 25, tzinfo=UTC)
MODELS = {"large": (4, 0.01), "small": (5, 0.002)}
ROWS = [
    {"item_id": item, "model": model, "score": int(item % nth > 0), "cost_usd": usd}
    for item in range(200)
    for model, (nth, usd) in MODELS.items()
]


class Dicts:
    """Rows as polars gives them."""

    def to_dicts(self) -> list[dict[str, object]]:
        return ROWS


def decided(source) -> ShownVerdict:
    return decide_results(source, incumbent="large", candidates="small", now=NOW)


@pytest.fixture(scope="module")
def verdict() -> ShownVerdict:
    return decided(ROWS)


def test_records_and_frames_say_what_a_file_says(verdict, tmp_path: Path):
    path = tmp_path / "results.csv"
    frame = pd.DataFrame(ROWS)
    frame.to_csv(path, index=False)
    assert verdict.name == "switch"
    for source in (path, [path], frame, Dicts()):
        assert decided(source).evidence_digest == verdict.evidence_digest
    wide = frame.pivot_table(index="item_id", columns="model", values="score").reset_index()
    assert decided(wide).certificates[0].retention == verdict.certificates[0].retention


def test_missing_values_of_pandas_are_missing():
    frame = pd.DataFrame(ROWS).convert_dtypes()
    frame["segment"] = pd.array([pd.NA] * len(frame), dtype="string")
    frame["latency_ms"] = math.nan
    frame.loc[0, "cost_usd"] = pd.NA
    known = decided(frame)
    assert known.certificates[0].segment is None
    assert known.name == "switch"


def test_a_row_that_is_wrong_is_named():
    rows = [*ROWS, {"item_id": 0, "model": "large", "score": "good"}]
    with raises_code("score-invalid", file="row", line=len(rows)):
        decided(rows)
    with raises_code("column-missing", "score"):
        decided(pd.DataFrame(ROWS).drop(columns="score"))


def test_a_verdict_shows_itself(verdict, tmp_path: Path):
    assert repr(verdict) == f"<Verdict switch: {verdict.sentence}>"
    cell = verdict._repr_html_()
    assert "results: SWITCH" in cell
    assert cell.count("<tr>") == 2
    assert "&lt;b&gt;" in decided([{**row, "workload": "<b>"} for row in ROWS])._repr_html_()
    assert verdict.report(tmp_path / "verdict.md").read_text().startswith("## results: switch")


def test_a_frame_has_a_row_for_each_part(verdict, monkeypatch: pytest.MonkeyPatch):
    frame = verdict.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["candidate"]) == ["small"]
    assert frame["retention"][0] == verdict.certificates[0].retention.value
    assert (frame["result"][0], frame["segment"][0]) == ("certified", None)
    for library in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, library, None)
    with raises_code("frame-library-missing", "pandas"):
        verdict.to_frame()


def test_a_shown_verdict_is_equal_to_the_one_that_the_store_returns(verdict, tmp_path: Path):
    with Store.open(tmp_path / "store.sqlite") as store:
        stored = store.verdicts.get(store.verdicts.append(verdict)).verdict
    assert type(stored) is not ShownVerdict
    assert verdict == stored == verdict
    assert verdict != "switch"
