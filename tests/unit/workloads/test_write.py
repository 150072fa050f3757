"""What is written is read back as the same evidence, whatever tool the results came from."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from crossgrade.workloads import pair, read_results, write_results
from crossgrade.workloads.files import whole_file
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


def write(path: Path, text: str = "new\n") -> None:
    with whole_file(path) as file:
        file.write(text)


def test_a_link_stays_and_the_file_it_names_is_replaced_with_its_mode(tmp_path: Path) -> None:
    target, link, dangling = tmp_path / "deep" / "target", tmp_path / "link", tmp_path / "dangling"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "fresh" / "file")
    write(link)
    write(dangling)
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert (link.read_text(), dangling.read_text()) == ("new\n", "new\n")
    assert target.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in target.parent.iterdir()] == ["target"]


def test_a_link_at_a_name_that_nobody_typed_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    precious, path = tmp_path / "precious", tmp_path / "page"
    precious.write_text("precious\n")
    path.symlink_to(precious)
    with whole_file(path, follow=False) as file:
        file.write("new\n")
    assert (precious.read_text(), path.read_text(), path.is_symlink()) == ("precious\n", "new\n", False)


@pytest.mark.parametrize("follow", [True, False])
def test_a_link_in_place_of_the_unfinished_file_is_never_written_through(
    tmp_path: Path, *, follow: bool
) -> None:
    precious, path = tmp_path / "precious", tmp_path / "page"
    precious.write_text("precious\n")
    (tmp_path / "page.part").symlink_to(precious)
    with whole_file(path, follow=follow) as file:
        file.write("new\n")
    assert (precious.read_text(), path.read_text()) == ("precious\n", "new\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this system")
def test_what_a_device_does_not_take_is_an_error(tmp_path: Path) -> None:
    link = tmp_path / "full"  # a link, so that a writer that replaces what it is given replaces only this
    link.symlink_to("/dev/full")
    with raises_code("file-unwritable"):
        write(link)
    assert link.is_symlink()


def test_a_pipe_is_written_through(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write(pipe)
    reader.join(60)
    assert read == ["new\n"]
    assert pipe.is_fifo()


def test_the_reader_of_a_pipe_that_leaves_is_no_fault_of_the_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(BrokenPipeError), whole_file(pipe) as file:  # noqa: PT012 -- it leaves in between
        os.close(reader)
        file.write("new\n")


def test_a_step_summary_keeps_what_earlier_steps_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary, other = tmp_path / "summary", tmp_path / "other"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    for path in (summary, other):
        path.write_text("old\n")
        write(path)
    assert (summary.read_text(), other.read_text()) == ("old\nnew\n", "new\n")
