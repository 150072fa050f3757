"""The guide "It says no. What now?" is typed through, with real models and a real training."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.docs.test_examples import ROOT, Reader, blocks

PAGE = "docs/guides/it-says-no.md"


@pytest.mark.needs(
    "module:torch", "module:peft", "module:xllamacpp", "model:smollm2-135m-instruct", "model:gemma-3-270m"
)
def test_the_guide_does_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src").symlink_to(ROOT / "src")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    reader = Reader(tmp_path, monkeypatch)
    typed = [
        each for each in blocks(PAGE, (ROOT / PAGE).read_text(encoding="utf-8")) if each.language == "console"
    ]
    assert len(typed) == 3
    for block in typed:
        reader.follow(replace(block, note="numbers vary: of another run of the models"))
