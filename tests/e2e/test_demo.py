"""`crossgrade demo` tells its whole story: decided, served, watched, taken back; then the published results."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_published_part_as_json(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crossgrade", "demo", "--only", "published", "--json", "--to", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["schema_version"] == 1
    assert [each["name"] for each in found["published"]] == ["switch", "split", "keep", "undecided", "split"]
    assert Path(found["published_report"]).is_file()


@pytest.mark.slow
@pytest.mark.needs("model:gemma-3-270m", "model:smollm2-135m-instruct")
def test_the_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crossgrade", "demo", "--to", str(tmp_path / "demo")],
        capture_output=True, text=True, check=False, timeout=1_200,
    )  # fmt: skip
    told = done.stdout
    assert done.returncode == 0, done.stderr[-2_000:] + told[-2_000:]
    parts = (
        "458 single calls: SWITCH",
        "llama-4-scout: $",
        "support: SPLIT",
        "answered by smollm2-135m-instruct",
        "ALARM",
        "stepped back",
        "answered by gemma-3-270m",
        "2,295 items: SPLIT",
        "segments discovered in the texts",
        "GSM8K, 1,319 word problems, graded again: KEEP",
        "MMLU, 57 subjects, as published: UNDECIDED",
        "by subject: SPLIT",
    )
    at = 0
    for part in parts:
        assert part in told[at:], told
        at = told.index(part, at)
    assert (tmp_path / "demo" / "crossgrade-report.html").stat().st_size < 500_000
