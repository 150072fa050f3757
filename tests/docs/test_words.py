"""The documentation reads plainly: few semicolons, and none of the phrases that sounded translated."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLAIN = (  # files, and folders of Markdown pages, in plain words
    "README.md",
    "CONTRIBUTING.md",
    "docs/README.md",
    "docs/concepts",
    "docs/decisions",
    "docs/guides",
    "docs/reference",
    "src/crossgrade/templates/README.md",
)
SEMICOLONS_PER_1000_WORDS = 1.5
INSTEAD = {  # a phrase, and what to write instead
    "a day cannot be": "must be positive",
    "as glad to": "could equally",
    "as it stands": "as is",
    "as the odds are": "as it is likely",
    "can speak, speaks": "uses every available signal",
    "contestant": "variant, model",
    "dear": "expensive",
    "dearer": "more expensive",
    "dearest": "most expensive",
    "else the": "otherwise the",
    "falls with": "what would change it",
    "get tired": "slow to react",
    "gets tired": "slow to react",
    "go on with": "resume",
    "goes on with": "resumes",
    "hard of hearing": "slow to react",
    "holds as soon as": "takes effect within",
    "however many": "no limit",
    "is live already": "is active",
    "is wanted": "is expected",
    "it is shown this once": "it will not be shown again",
    "it says not why": "no reason given",
    "items cannot tell": "are not enough",
    "let in": "authorised",
    "looks together": "interim analyses together",
    "may come in": "requests need …",
    "next look": "next check",
    "nobody": "none, no key, any client",
    "none sent is": "the subject first",
    "not needed is": "the subject first",
    "nothing is known of": "unknown",
    "of at most so many": "up to …",
    "of which GPUs": "Missing …",
    "put out": "generated",
    "same as ever": "unchanged",
    "somebody": "a reviewer, a client",
    "stands and falls": "depends on",
    "stands on it": "raised an alarm",
    "was wanted": "was expected",
    "were wanted": "were expected",
    "whoever": "any client, the recipient",
    "widened by": "raised by, allowed by",
}

FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
CODE = re.compile(r"`[^`]*`")
ASIDE = re.compile(r"^(?:\||    ).*$", re.MULTILINE)  # rows of tables, and indented code


def pages() -> list[Path]:
    found = [ROOT / name for name in PLAIN]
    return [page for each in found for page in (sorted(each.rglob("*.md")) if each.is_dir() else [each])]


def words(text: str) -> str:
    """Return a page without its code."""
    return CODE.sub("`…`", COMMENT.sub("", FENCED.sub("", text)))


def sentences(text: str) -> str:
    """Return a page without its code and tables."""
    return ASIDE.sub("", words(text))


def old_phrases(text: str) -> list[str]:
    text = " ".join(words(text).split())
    return [old for old in INSTEAD if re.search(rf"\b{re.escape(old)}\b", text, re.IGNORECASE)]


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_a_page_has_none_of_the_old_phrases(page: Path) -> None:
    found = old_phrases(page.read_text(encoding="utf-8"))
    assert not found, {old: INSTEAD[old] for old in found}


def test_semicolons_are_rare() -> None:
    texts = {_name(page): sentences(page.read_text(encoding="utf-8")) for page in pages()}
    semicolons = {name: text.count(";") for name, text in texts.items() if ";" in text}
    total = sum(len(text.split()) for text in texts.values())
    assert 1000 * sum(semicolons.values()) <= SEMICOLONS_PER_1000_WORDS * total, semicolons


def test_code_is_no_prose() -> None:
    page = "A run\ngoes on\nwith `a; dear`.\n\n<!-- not run: nobody; -->\n```yaml\na: whoever;\n```\n| a; whoever |\n"
    assert old_phrases(page) == ["goes on with", "whoever"]
    assert sentences(page).count(";") == 0
    assert sentences("one; two\n").count(";") == 1
