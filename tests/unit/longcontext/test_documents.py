"""What may be a document: text in UTF-8, pages, records; the rest is refused with its place."""

from pathlib import Path

import pytest

from crossgrade.longcontext import read_documents, synthetic_documents
from tests.codes import raises_code


def test_text_pages_and_records_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbfOne\r\ntwo\n")
    (tmp_path / "b.html").write_text("<head><title>no</title></head><p>Three &amp; four<script>no()</script>")
    (tmp_path / "c.jsonl").write_text('{"text": "five", "n": [1, {"more": "six"}]}\n\n{"text": "seven"}\n')
    (tmp_path / ".hidden").write_text("no")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0\0")
    found = read_documents([tmp_path])
    assert [each.text.strip() for each in found] == ["One\ntwo", "Three & four", "five\nsix", "seven"]
    assert [Path(each.name).name for each in found] == ["a.md", "b.html", "c.jsonl:1", "c.jsonl:3"]


@pytest.mark.parametrize(
    ("name", "content", "seen"),
    [
        ("a.pdf", b"%PDF-1.7", ("pdf-unreadable",)),
        ("a.bin", b"text\0text", ("document-binary",)),
        ("latin.txt", b"caf\xe9", ("not-utf8", "0xe9")),
        ("rows.jsonl", b'{"a": 1}\nno json\n', ("not-json",)),
        ("deep.jsonl", b"[" * 20_000, ("not-json",)),
    ],
)
def test_a_named_file_that_is_no_text_is_refused(
    tmp_path: Path, name: str, content: bytes, seen: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with raises_code(*seen) as caught:
        read_documents([tmp_path / name])
    assert name in str(caught.value.file)


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one \\ud83d two"}')
    (document,) = read_documents([tmp_path / "a.jsonl"])
    assert document.text.encode() == b"one   two"


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One line of text.\n")
    assert len(read_documents([tmp_path, tmp_path / "a.txt", tmp_path])) == 1


@pytest.mark.parametrize(
    ("make", "code"),
    [(lambda path: path / "missing", "file-missing"), (lambda path: path, "documents-missing")],
)
def test_nothing_there_is_said(tmp_path: Path, make: object, code: str) -> None:
    with raises_code(code):
        read_documents([make(tmp_path)])


def test_made_up_documents_depend_on_the_seed_alone() -> None:
    assert synthetic_documents(20_000, 1) == synthetic_documents(20_000, 1)
    assert synthetic_documents(20_000, 1) != synthetic_documents(20_000, 2)
    assert sum(len(each.text) for each in synthetic_documents(20_000, 1)) >= 20_000
