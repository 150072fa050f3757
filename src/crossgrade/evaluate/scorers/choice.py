"""`choice`: the letter of the option an answer picks."""

import re
import unicodedata
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta

from crossgrade.domain import Sample, Score
from crossgrade.evaluate.scorers._contract import Grade, graded, unparsed
from crossgrade.evaluate.scorers._options import Options, bad_sample, references
from crossgrade.evaluate.scorers._text import last_match, visible

# What may stand around a letter that is meant as an option: (C), **C**, `C`, "C", [C], $C$.
_OPEN = r"[(\[{*_`\"'“‘$]{0,6}"
_CLOSE = r"[)\]}*_`\"'”’$]{0,6}"
# "The answer is A because" picks A; "the answer is A cat" picks nothing.
_WORD = r"[AI]\ (?!(?:because|since|as|is|which|with|for|due|based|and\ not|rather)\b)[a-z]"
_AND = r"\s?(?:(?:or|and)\s|[/,&]\s?)"

_STATED = r"""
    \b(?:answer|choice|option|solution)\b
    (?:\s(?:choice|option|letter|is|would\ be|should\ be|must\ be|here|to\ this|to\ the\ question)){0,6}+
    \s?[:=]?[*_]{0,3}\s{0,3}(?:\\boxed)?
"""
_LABEL = r"(?:(?:option|choice|answer|letter)\s)?"


class ChoiceOptions(Options, frozen=True):
    """Options of `choice`."""

    letters: Annotated[
        str,
        Meta(
            description="The letters of the options, in order. Guessing scores one divided by their number: "
            "declare it as the workload's `chance`.",
            pattern="^[A-Z]{2,26}$",
        ),
    ] = "ABCDEFGHIJ"

    def __post_init__(self) -> None:
        """Refuse a letter that is named twice."""
        if len(set(self.letters)) != len(self.letters):
            raise ValueError(f"`letters` names a letter twice: {self.letters}")


def choice(options: ChoiceOptions) -> Grade:
    """Return the grader: 1 if the letter the answer picks is the target's, else 0."""
    read = letter_reader(options.letters)

    def wanted_of(sample: Sample) -> set[str]:
        target = sample.target
        if isinstance(target, int) and not isinstance(target, bool) and 0 <= target < len(options.letters):
            return {options.letters[target]}
        letters = {read(reference) for reference in references("choice", sample)}
        if None in letters:
            raise bad_sample(
                "choice", sample, f"the target {str(target)[:80]!r} is not one of {options.letters}",
                "targets are a letter, or the option's number counted from 0; set `letters` to those in use",
                code="target-invalid",
            )  # fmt: skip
        return {letter for letter in letters if letter}

    def grade(sample: Sample, text: str) -> Score:
        wanted = wanted_of(sample)
        letter = read(text)
        if letter is None:
            return unparsed("no letter, or more than one, is given as the answer")
        return graded(letter in wanted, letter)

    return grade


def letter_reader(letters: str) -> Callable[[str], str | None]:
    r"""Return a function from a text to the one option it picks, or None.

    Tried in order, and the first that finds a letter decides: the whole text is a letter; the
    last statement "answer is X", "answer: X" or `\boxed{X}`; the first line starts with "X.",
    "(X)" or "**X**"; the last line is a letter; the only letter that stands in brackets or
    emphasis. Two letters in one statement, or several marked ones, are no answer.
    """
    one = f"[{letters}]"
    either = f"(?i:{one})"
    flags = re.VERBOSE
    alone = re.compile(rf"{_LABEL}{_OPEN}({either}){_CLOSE}[.:,!]?{_CLOSE}", flags | re.IGNORECASE)
    stated = re.compile(
        rf"""(?:(?i:{_STATED})|\\boxed)\s?(?i:{_LABEL}){_OPEN}(?:\\text\{{)?{_OPEN}
        (?:(?!{_WORD})(?P<upper>{one})(?![\w'’])|(?P<lower>{one.lower()})(?=[)\]}}*`"]|[.,:;]?\s*$))
        (?P<rest>{_CLOSE}(?:{_AND}{_OPEN}{one}(?![\w'’])){{0,3}})""",
        flags | re.MULTILINE,
    )
    leading = re.compile(
        rf"[\s#>-]{{0,4}}(?:[(\[*_]{{1,4}}({one})[)\]*_:.]{{1,6}}|({one})[.):](?:\s|$))", flags
    )
    marked = re.compile(rf"(?:\(({one})\)|\*\*\(?({one})[).:]?\*\*|\[({one})\])", flags)
    another = re.compile(rf"{_AND}{_OPEN}({one})", flags)

    def read(text: str) -> str | None:
        text = (text if text.isascii() else unicodedata.normalize("NFKC", visible(text))).strip()
        if whole := alone.fullmatch(text[:40]) if len(text) <= 40 else None:
            return whole[1].upper()
        if last := last_match(stated, text):
            letter = str(last["upper"] or last["lower"]).upper()
            return letter if set(another.findall(last["rest"])) <= {letter} else None
        return _unstated(text)

    def _unstated(text: str) -> str | None:
        marks = {next(filter(None, groups)) for groups in marked.findall(text)}
        if start := leading.match(text):
            letter = str(start[1] or start[2])
            # "A. Paris  B. Rome" repeats the options: a second line that starts the same way is no pick.
            others = {line[1] or line[2] for line in map(leading.match, text.split("\n", 20)[:20]) if line}
            return letter if others == {letter} and marks <= {letter} else None
        if end := alone.fullmatch(text[-40:].rpartition("\n")[2].strip()):
            return end[1].upper()
        return marks.pop() if len(marks) == 1 else None

    return read
