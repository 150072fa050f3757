"""How raters score: the choices of each scale, their keys, and the words in which a label is said again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from crossgrade.errors import UsageError
from crossgrade.store import LabelScale

MOST_ANSWERS = len(ascii_uppercase)
_MOST_LETTERS = 5
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreChoice:
    """A button: its form `value`, the `key` that presses it, its words, and the scores that it stands for."""

    value: str
    key: str
    words: str
    scores: tuple[float, ...]


RIGHT_WRONG = ("right", "wrong")
"""What a score of 1 and of 0 says where the desk has no words of its own."""
GRADED = tuple(
    ScoreChoice(value=f"{step / 4:g}", key=str(step + 1), words=f"{step / 4:g}", scores=(step / 4,))
    for step in range(5)
)
SKIPS = {
    "cannot-judge": "I cannot judge it",
    "broken-item": "The item is broken",
    "personal-data": "It has personal data",
    "other": "Another reason",
}


def name_of(answer: int) -> str:
    """Return the name of an answer by its place on the page: A, B and so on."""
    return ascii_uppercase[answer]


def field_of(answer: int) -> str:
    """Return the form field with the score of an answer."""
    return f"score-{name_of(answer).lower()}"


def each_answer(scale: LabelScale, words: tuple[str, str] = RIGHT_WRONG) -> tuple[ScoreChoice, ...]:
    """Return what may be said of one answer; nothing on the scale `compare`.

    `words` say what 1 and 0 mean on the scale `right-wrong`. They begin with different letters, the keys.
    """
    if scale != "right-wrong":
        return GRADED if scale == "graded" else ()
    return tuple(
        ScoreChoice(value=f"{score:g}", key=word[0], words=word.capitalize(), scores=(score,))
        for word, score in zip(words, (1.0, 0.0), strict=True)
    )


def all_answers(scale: LabelScale, answers: int) -> tuple[ScoreChoice, ...]:
    """Return what may be said of all answers at once; nothing on the scales that score each one."""
    if scale != "compare":
        return ()
    word = "better" if answers == 2 else "best"
    best = tuple(
        ScoreChoice(
            value=name_of(at).lower(),
            key=_key_of(at, answers),
            words=f"{name_of(at)} is {word}",
            scores=tuple(float(at == other) for other in range(answers)),
        )
        for at in range(answers)
    )
    both = "Both" if answers == 2 else "All"
    return (
        *best,
        ScoreChoice(value="tie", key="t", words="Tie", scores=(1.0,) * answers),
        ScoreChoice(value="bad", key="x", words=f"{both} bad", scores=(0.0,) * answers),
    )


def _key_of(at: int, answers: int) -> str:
    """Return the key that says that an answer is the best: its letter, or its number where letters run short.

    From the sixth answer on, letters are keys of the page. From the tenth on, there is a button alone ("").
    """
    if answers <= _MOST_LETTERS:
        return name_of(at).lower()
    return str(at + 1) if at < _MOST_DIGITS else ""


def fields(answers: int) -> tuple[str, ...]:
    """Return the form fields that scores come in."""
    return ("better", *(field_of(at) for at in range(answers)))


def scores_of(scale: LabelScale, form: Mapping[str, str]) -> tuple[float, ...]:
    """Return the scores of a form, in the order of the page; raises UsageError `label-incomplete`.

    The form says how many `answers` the page showed.
    """
    count = form.get("answers", "")
    answers = int(count) if count.isascii() and count.isdigit() and len(count) < 3 else 0
    if scale == "compare":
        answers = min(answers, MOST_ANSWERS)
        found = [each for each in all_answers(scale, answers) if each.value == form.get("better")]
    else:
        given = {each.value: each for each in each_answer(scale)}
        found = [
            given[value]
            for at in range(min(answers, MOST_ANSWERS))
            if (value := form.get(field_of(at), "")) in given
        ]
    scores = tuple(score for each in found for score in each.scores)
    if not scores or len(scores) != answers:
        raise UsageError(
            "not every answer has a score",
            code="label-incomplete",
            hint="score each answer, or skip the item",
        )
    return scores


def in_words(
    scale: LabelScale,
    scores: Sequence[float] | None,
    skipped: str | None,
    words: tuple[str, str] = RIGHT_WRONG,
) -> str:
    """Return a label in words, for instance `A right, B wrong`."""
    if scores is None:
        return f"skipped ({SKIPS.get(skipped or '', 'no reason')})"
    for choice in all_answers(scale, len(scores)):
        if choice.scores == tuple(scores):
            return choice.words
    known = {each.scores[0]: each.words.lower() for each in each_answer(scale, words)}
    return ", ".join(f"{name_of(at)} {known.get(score, f'{score:g}')}" for at, score in enumerate(scores))
