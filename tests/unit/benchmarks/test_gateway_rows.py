"""From measured quantities to rows: ratios within a round, causes where a server is missing, no number in its place."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.gateway._measure import DIRECT, Measured
from benchmarks.gateway._rows import added, ratios, rows, spread
from benchmarks.gateway._server import family, parse_stat
from benchmarks.gateway._tools import body

PEERS = ("nginx", "TensorZero", "Portkey", "LiteLLM")


def _quantities(scale: float) -> dict[str, list[float]]:
    """A server whose every figure is `scale` times the lightest's, in three rounds of different load."""
    found = {
        name: [scale * load for load in (10.0, 20.0, 40.0)]
        for name in (
            "json_cpu_us",
            "json_per_s",
            "burst_cpu_us",
            "paced_cpu_us",
            "first_cpu_ms",
            "last_cpu_ms",
        )
    }
    found |= {
        name: [100.0 + scale, 300.0 + scale, 200.0 + scale] for name in ("calm_p50_us", "delayed_p50_us")
    }
    found |= {
        f"{where}_{what}": [scale] * 3 for where in ("first", "last") for what in ("wall_ms", "added_mib")
    }
    found |= {name: [scale] for name in ("worker_rss_mib", "all_rss_mib", "all_pss_mib", "processes")}
    return found | {"start_cpu_s": [scale / 10], "bad": [0.0]}


def _measured() -> Measured:
    measured = Measured()
    measured[DIRECT] = {name: [100.0, 300.0, 200.0] for name in ("calm_p50_us", "delayed_p50_us")}
    measured["ours"] = _quantities(0.9)
    for name, scale in zip(PEERS, (1.0, 10.0, 100.0, 1000.0), strict=True):
        measured[name] = _quantities(scale)
        measured.versions[name] = "1.0"
    return measured


def test_every_bound_is_judged_on_the_right_side() -> None:
    found = rows(_measured())
    assert not [row["figure"] for row in found if not row["holds"]]
    light = {row["figure"]: row["value"] for row in found}
    assert light["CPU per JSON request"] == 0.9
    assert light["requests a second a core, ours divided by LiteLLM's"] == pytest.approx(
        1000 / 0.9, abs=0.001
    )
    assert light["added median at 50 requests a second"] == pytest.approx(0.9)
    heavy = _measured()
    heavy["ours"] = _quantities(10_000.0)
    assert not [row["figure"] for row in rows(heavy) if row["holds"]]


def test_a_missing_peer_is_a_cause_and_never_a_number() -> None:
    measured = _measured()
    del measured["Portkey"]
    measured.missing["Portkey"] = "Portkey cannot be installed: no such package"
    by_figure = {row["figure"]: row for row in rows(measured)}
    row = by_figure["requests a second a core, ours divided by Portkey's"]
    assert row["value"] is None
    assert not row["holds"]
    assert row["conditions"] == "not measured: Portkey cannot be installed: no such package"
    assert "cannot be installed" in str(by_figure["CPU per JSON request"]["peers"]["Portkey"])
    assert by_figure["CPU per JSON request"]["holds"]


def test_without_ours_the_peers_are_still_shown() -> None:
    measured = _measured()
    del measured["ours"]
    measured.missing["ours"] = "not built"
    found = rows(measured)
    assert {row["value"] for row in found} == {None}
    assert not any(row["holds"] for row in found)
    assert found[0]["peers"]["nginx 1.0"] == "20.0 µs"


def test_a_bad_answer_keeps_a_figure_from_holding_and_is_said() -> None:
    measured = _measured()
    measured["ours"]["bad"] = [0.0, 2.0]
    found = rows(measured)
    assert not any(row["holds"] for row in found)
    assert all("2 bad answers" in row["conditions"] for row in found)
    assert "(2 bad answers)" in str(found[0]["peers"]["ours"])


def test_answers_that_were_not_recorded_keep_every_figure_from_holding() -> None:
    measured = _measured()
    measured["ours"]["unrecorded"] = [3.0]
    found = rows(measured)
    assert not any(row["holds"] for row in found)
    assert all("3 answers without a record" in row["conditions"] for row in found)


def test_rows_are_json() -> None:
    assert json.loads(json.dumps(rows(_measured())))


def test_ratios_and_differences_are_taken_round_by_round() -> None:
    assert ratios([2.0, 40.0], [1.0, 10.0]) == [2.0, 4.0]
    assert added(_measured(), "nginx", "calm_p50_us") == [1.0, 1.0, 1.0]
    assert spread([1.0, 2.0, 3.0]) == "median of 3, 1–3"
    assert spread([1.0]) == ""


def test_the_name_of_a_process_may_hold_brackets_and_spaces() -> None:
    tail = "S 7 1 42 0 -1 0 0 0 0 0 11 12 100 50 20 0 1 0"
    process = parse_stat(f"123 (a) (b c) {tail}")
    assert (process.pid, process.parent, process.session) == (123, 7, 42)
    assert process.reaped_s > 0


def test_a_family_is_the_session_and_every_descendant() -> None:
    def process(pid: int, parent: int, session: int):
        return parse_stat(f"{pid} (x) S {parent} 1 {session} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0")

    known = [
        process(10, 1, 10),
        process(11, 10, 10),
        process(12, 11, 12),
        process(13, 1, 10),
        process(20, 1, 20),
    ]
    assert [member.pid for member in family(10, known)] == [10, 11, 12, 13]


@pytest.mark.parametrize("last", [False, True])
def test_a_body_names_the_model_first_or_last(tmp_path: Path, last: bool) -> None:
    text = body(tmp_path, "up::{}", "mock", stream=True, model_last=last).read_text(encoding="utf-8")
    assert json.loads(text)["model"] == "up::mock"
    assert json.loads(text)["stream"] is True
    assert bool(re.search(r'"model":"up::mock"\}$', text)) is last
    assert text.startswith('{"model":') is not last
