"""PDFs as documents: their text, and what is said of one that has none, is locked, damaged or made to hurt."""

from pathlib import Path

import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from crossgrade.errors import DataError
from crossgrade.longcontext import HaystackPool, Tokenizer, _pdf, read_documents
from tests.codes import raises_code

PAGE = [f"Pump number {n} was checked on a Monday by the auditor." for n in range(30)]


def make(path: Path, pages: list[list[str] | bytes], *, password: str | None = None) -> Path:
    """Write a PDF of these pages: lines of text, or a content stream."""
    writer = PdfWriter()
    font = DictionaryObject(
        {NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
         NameObject("/BaseFont"): NameObject("/Helvetica")}
    )  # fmt: skip
    for content in pages:
        page = writer.add_blank_page(612, 792)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
        stream = DecodedStreamObject()
        drawn = "".join(f"({line}) Tj 0 -14 Td " for line in content) if isinstance(content, list) else ""
        stream.set_data(
            f"BT /F1 10 Tf 40 760 Td {drawn}ET".encode() if isinstance(content, list) else content
        )
        page[NameObject("/Contents")] = writer._add_object(stream.flate_encode())
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    writer.write(path)
    return path


def test_a_pdf_becomes_one_document_with_lines_to_hide_among(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = make(tmp_path / "handbook.pdf", [PAGE, PAGE[::-1]])
    (document,) = read_documents([path])
    assert document.text.splitlines() == [*PAGE, *reversed(PAGE)]
    assert document.name == str(path)
    pool = HaystackPool([document], tokenizer)
    assert pool.characters > 0.9 * len(document.text)


@pytest.mark.parametrize(
    ("pages", "password", "seen", "step"),
    [
        ([b""] * 3, None, ("pdf-without-text", "3"), "ocrmypdf"),
        ([PAGE], "secret", ("pdf-encrypted",), "qpdf --decrypt"),
    ],
)
def test_a_pdf_without_readable_text_is_refused_with_the_next_step(
    tmp_path: Path, pages: list, password: str | None, seen: str, step: str
) -> None:
    path = make(tmp_path / "a.pdf", pages, password=password)
    with raises_code(*seen) as caught:
        read_documents([path])
    assert caught.value.file == str(path)
    assert step in caught.value.hint


def test_a_pdf_that_is_encrypted_without_a_password_is_read(tmp_path: Path) -> None:
    (document,) = read_documents([make(tmp_path / "a.pdf", [PAGE], password="")])
    assert PAGE[0] in document.text


@pytest.mark.parametrize("at", [10, 200, -300])
def test_a_damaged_pdf_is_refused_or_read_but_never_crashes(tmp_path: Path, at: int) -> None:
    whole = make(tmp_path / "whole.pdf", [PAGE] * 3).read_bytes()
    (tmp_path / "cut.pdf").write_bytes(whole[:at])
    try:
        found = read_documents([tmp_path / "cut.pdf"])[0].text
    except DataError as error:
        found = error.message
    assert "PDF" in found or "Pump number" in found


@pytest.mark.parametrize(
    ("limit", "value", "seen"),
    [
        ("MOST_PAGES", 2, ("pdf-too-many-pages", "3", "2")),
        ("_MOST_CHARACTERS", 1_000, ("pdf-too-much-text", "1,000")),
        ("_MEMORY_BYTES", 2**24, ("pdf-unreadable",)),
    ],
)
def test_a_pdf_beyond_a_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, seen: str
) -> None:
    monkeypatch.setattr(_pdf, limit, value)
    with raises_code(*seen):
        read_documents([make(tmp_path / "a.pdf", [PAGE] * 3)])


def test_a_pdf_that_takes_too_long_ends_its_reader_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pdf, "_CPU_S", 1)
    path = make(tmp_path / "slow.pdf", [b"BT /F1 10 Tf (a) Tj ET\n" * 2_000_000])
    assert path.stat().st_size < 500_000
    with raises_code("pdf-unreadable", "1"):
        read_documents([path])


def test_what_a_folder_holds_that_cannot_be_used_is_noted(tmp_path: Path) -> None:
    make(tmp_path / "locked.pdf", [PAGE], password="secret")
    make(tmp_path / "half.pdf", [PAGE, b""])
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0\0")
    notes: list[str] = []
    (document,) = read_documents([tmp_path], on_note=notes.append)
    assert document.name.endswith("half.pdf")
    half, latin, locked = sorted(notes, key=lambda note: note.partition(".")[0].rpartition("/")[2])
    assert "half.pdf: 1 of 2 pages hold no text" in half
    assert "latin.txt: the document is not UTF-8" in latin
    assert "locked.pdf: the PDF is encrypted; take the password off" in locked


def test_a_folder_of_scans_alone_says_so(tmp_path: Path) -> None:
    make(tmp_path / "scan.pdf", [b""])
    with raises_code("pdf-without-text"):
        read_documents([tmp_path])


def test_without_the_extra_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pdf, "find_spec", lambda name: None)
    with raises_code("missing-extra", "PDFs", "long-context"):
        read_documents([make(tmp_path / "a.pdf", [PAGE])])
