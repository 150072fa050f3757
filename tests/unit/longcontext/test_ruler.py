"""RULER's own arithmetic, against its published table."""

from pathlib import Path

import pytest

from crossgrade.longcontext import ruler_table
from tests.codes import raises_code

LENGTHS = ("4k", "8k", "16k", "32k", "64k", "128k")
PUBLISHED = """\
gemini-1.5-pro,1M,96.7,95.8,96.0,95.9,95.9,94.4
gpt-4-1106,128K,96.6,96.3,95.2,93.2,87.0,81.2
llama2-7b-chat,4K,85.6,,,,,
qwen3-14b,128K,98.0,97.8,96.4,96.1,94.0,85.1
"""


def _table(tmp_path: Path) -> Path:
    rows = ["model,claimed,length,score"]
    for line in PUBLISHED.splitlines():
        model, claimed, *scores = line.split(",")
        rows += [
            f"{model},{claimed},{length},{score}"
            for length, score in zip(LENGTHS, scores, strict=True)
            if score
        ]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(rows))
    return path


def test_averages_and_effective_lengths(tmp_path: Path) -> None:
    gemini, gpt, llama, qwen = ruler_table(_table(tmp_path))
    assert (gemini.effective_tokens, gemini.longest_tested, gemini.claimed) == (131_072, True, "1M")
    assert (gpt.effective_tokens, gpt.longest_tested) == (65_536, False)
    # Printed in RULER's table: 91.6 on average, 89.0 and 94.1 weighted.
    assert gpt.average == pytest.approx(91.6, abs=0.06)
    assert gpt.weighted_increasing == pytest.approx(89.0, abs=0.06)
    assert gpt.weighted_decreasing == pytest.approx(94.1, abs=0.06)
    assert llama.effective_tokens == 4096
    assert qwen.effective_tokens == 65_536  # its printed length does not follow RULER's own rule


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("model,length,score\n", ("ruler-empty",)),
        ("model,length,score\na,0,50\n", ("ruler-row-invalid",)),
        ("model,length,score\na,4k,80,x\n", ("ruler-row-invalid",)),
        ("model,score\n", ("ruler-columns",)),
        ("model,length,score\na,4k,101\n", ("ruler-row-invalid",)),
        ("model,length,score\na,four,90\n", ("ruler-row-invalid",)),
        ("model,length,score\na,4k,90\na,4096,91\n", ("ruler-row-repeated", "4,096")),
        ("model,length,score\na,4k\n", ("ruler-row-invalid",)),
    ],
)
def test_a_broken_table_is_named_by_line(tmp_path: Path, text: str, seen: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with raises_code(*seen) as caught:
        ruler_table(path)
    assert caught.value.line == text.count("\n")
    with raises_code("file-missing"):
        ruler_table(tmp_path / "missing.csv")
