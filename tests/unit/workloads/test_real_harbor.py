"""Jobs that three releases of Harbor wrote: its own agents, and trials that failed."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgrade.domain import AgentSetup
from crossgrade.workloads import Results, agent_runs, pair, read_results


@pytest.fixture
def agents(data_dir: Path) -> Path:
    return data_dir / "agents"


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def runs_of(results: Results, model: str) -> dict[AgentSetup, Any]:
    code = results.model_names.index(model)
    return agent_runs(results, np.flatnonzero(results.models.codes == code))


@pytest.mark.parametrize("release", ["0.26.0", "0.9.0", "0.3.0"])
class TestRealHarbor:
    """What three releases of Harbor wrote, whose results have other fields."""

    def test_its_own_agents(self, agents: Path, release: str) -> None:
        results = read_results(agents / f"harbor-{release}" / "oracle-and-nop")
        assert results.workload_names == ("tasks",)
        assert results.stated_means == {"oracle": 1, "nop": 0}
        for model, solved in (("oracle", 1), ("nop", 0)):
            ((setup, runs),) = runs_of(results, model).items()
            assert (setup.agent, setup.agent_version, setup.dataset) == (model, "1.0.0", "tasks")
            assert (runs.trials, runs.attempts, runs.without_verdict, runs.failures) == (5, (1, 1), 0, ())
            rows = results.models.codes == results.model_names.index(model)
            assert set(results.score[rows]) == {solved}
        assert np.isfinite(results.amounts["latency_ms"]).all()
        assert len(results.labels["prompt_digest"].names) == 5

    def test_what_failed(self, agents: Path, release: str) -> None:
        job = agents / f"harbor-{release}" / "failures"
        results = read_results(job)
        (runs,) = runs_of(results, "oracle").values()
        assert {(each.origin, each.name, each.without_verdict) for each in runs.failures} == {
            ("agent", "AgentTimeoutError", 0),
            ("verifier", "RewardFileNotFoundError", 1),
        }
        scores = dict(zip(results.samples.names, results.score.tolist(), strict=True))
        assert (scores["slow"], scores["broken"], scores["odd-reward"]) == (0, 0, 3.7)
        # The means of these jobs count a trial without a reward differently: as nothing, and as 0.
        assert results.stated_means["oracle"] == pytest.approx(3.7 / 3 if release == "0.26.0" else 3.7 / 4)

    def test_a_headline_of_other_trials(self, agents: Path, release: str, tmp_path: Path) -> None:
        job = Path(shutil.copytree(agents / f"harbor-{release}" / "oracle-and-nop", tmp_path / "job"))
        stats = json.loads((job / "result.json").read_text())["stats"]
        stats["evals"]["nop__tasks"]["metrics"] = [{"mean": 0.6}]
        change(job / "result.json", stats=stats)
        evidence = pair(read_results(job), incumbent="oracle")
        assert evidence.candidates[0].stated_mean == 0.6


def test_an_api_that_failed_in_an_older_release_leaves_no_verdict(agents: Path, tmp_path: Path) -> None:
    job = Path(shutil.copytree(agents / "harbor-0.9.0" / "failures", tmp_path / "job"))
    (slow,) = job.glob("slow__*/result.json")
    failed = json.loads(slow.read_text())["exception_info"]
    for name, counts in (("RateLimitError", False), ("AgentTimeoutError", True), ("SomethingNew", True)):
        change(slow, exception_info={**failed, "exception_type": name})
        (runs,) = runs_of(read_results(job), "oracle").values()
        assert runs.without_verdict == 2 - counts
