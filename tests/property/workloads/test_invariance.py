"""What must not matter: the order of rows, the formatting of files."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from crossgrade.domain import ScoredAnswer
from crossgrade.errors import DataError, UsageError
from crossgrade.workloads import pair, read_dataset, read_results
from crossgrade.workloads._columns import Columns

ROW = st.builds(
    ScoredAnswer,
    sample_id=st.sampled_from("abcdefgh"),
    model=st.sampled_from("ABC"),
    score=st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5])),
    epoch=st.integers(1, 3),
    segment=st.sampled_from([None, None, "s", "t"]),
    target_digest=st.sampled_from([None, "k", "k", "l"]),
    error=st.sampled_from([None, None, "timeout"]),
    weight=st.sampled_from([1.0, 2.0]),
)
VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=8))
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(ROW, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[ScoredAnswer], source: random.Random) -> None:
    shuffled = source.sample(rows, len(rows))
    found = []
    for each in (rows, shuffled):
        columns = Columns()
        columns.add(each)
        try:
            evidence = pair(columns.finish(), incumbent="A", candidates=("B",))
        except UsageError:
            found.append(None)
            continue
        order = np.argsort(evidence.sample_ids)
        models = (evidence.incumbent, evidence.candidates[0])
        found.append(
            (
                evidence.sample_ids[order].tolist(),
                [[repr(round(score, 12)) for score in model.score[order]] for model in models],
                [model.error[order].tolist() for model in models],
                [model.out_of_range for model in models],
                None if evidence.segment is None else evidence.segment[order].tolist(),
                None if evidence.weight is None else evidence.weight[order].round(12).tolist(),
                (evidence.audit.unmatched, evidence.audit.duplicates, evidence.audit.key_conflicts),
            )
        )
    assert found[0] == found[1]


@given(
    st.lists(st.dictionaries(st.text(max_size=4), VALUE, min_size=1, max_size=4), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_the_digest_does_not_depend_on_formatting(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]], source: random.Random
) -> None:
    rows = [{"id": number, **row} for number, row in enumerate(rows)]
    rows = [{**row, "id": number} for number, row in enumerate(rows)]
    folder = tmp_path_factory.mktemp("d")
    plain, odd = folder / "plain.jsonl", folder / "odd.jsonl"
    plain.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = []
    for row in rows:
        keys = source.sample(list(row), len(row))
        line = json.dumps({key: row[key] for key in keys}, ensure_ascii=False, separators=(" ,  ", " : "))
        lines.append(line.encode())
    odd.write_bytes(b"\xef\xbb\xbf" + b"\r\n\n  ".join(lines))
    first, second = (read_dataset(path, id_field="id") for path in (plain, odd))
    assert first.digest == second.digest
    assert [sample.fields for sample in first.samples] == [sample.fields for sample in second.samples]
    changed = [{**row, "id": f"{row['id']}x"} for row in rows]
    plain.write_text("".join(json.dumps(row) + "\n" for row in changed))
    assert read_dataset(plain, id_field="id").digest != first.digest


def reads_or_refuses(read: Callable[[Path], object], path: Path) -> bool:
    try:
        read(path)
    except DataError as error:
        return bool(error.hint)
    return True


STARTS = (b"", b"item_id,model,score\n", b'{"item_id": 1, ', b"PK\x03\x04", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")


@given(st.sampled_from(STARTS), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, start: bytes, data: bytes
) -> None:
    path: Path = tmp_path_factory.mktemp("d") / "file"
    path.write_bytes(start + data)
    assert reads_or_refuses(read_dataset, path)
    assert reads_or_refuses(read_results, path)
