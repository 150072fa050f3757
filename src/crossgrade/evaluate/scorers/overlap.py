"""`f1`: how many words the answer shares with the target.

The token F1 of SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1): lower case,
punctuation and the articles a, an, the removed, words counted with multiplicity, the best of
several references. Differing from it, Chinese and Japanese characters are words of their own,
as those scripts put no spaces between words.
"""

import re
import unicodedata
from collections import Counter
from typing import Annotated

from msgspec import Meta

from crossgrade.domain import Sample, Score
from crossgrade.evaluate.scorers._contract import Grade, graded, unparsed
from crossgrade.evaluate.scorers._options import Options, references
from crossgrade.evaluate.scorers._text import fold_case, visible

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\s{_IDEOGRAPHS}]+")
_ARTICLES = frozenset({"a", "an", "the"})


class F1Options(Options, frozen=True):
    """Options of `f1`."""

    ignore_articles: Annotated[bool, Meta(description="Leave out a, an and the, as SQuAD does.")] = True


def words(text: str, *, ignore_articles: bool = True) -> list[str]:
    """Return the words by which two texts are compared, in order."""
    plain = "".join(c for c in fold_case(visible(text)) if not unicodedata.category(c).startswith("P"))
    return [word for word in _WORD.findall(plain) if not (ignore_articles and word in _ARTICLES)]


def token_f1(answer: list[str], reference: list[str]) -> float:
    """Return the harmonic mean of precision and recall over words; 1 when both have none."""
    if not answer or not reference:
        return float(answer == reference)
    shared = (Counter(answer) & Counter(reference)).total()
    return 2 * shared / (len(answer) + len(reference))


def f1(options: F1Options) -> Grade:
    """Return the grader: the best token F1 over the targets, in [0, 1]."""

    def split(text: str) -> list[str]:
        return words(text, ignore_articles=options.ignore_articles)

    def grade(sample: Sample, text: str) -> Score:
        wanted = [split(reference) for reference in references("f1", sample)]
        if not text.strip():
            return unparsed("the answer is blank")
        seen = split(text)
        return graded(max(token_f1(seen, reference) for reference in wanted), text.strip())

    return grade
