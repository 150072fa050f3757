"""A guard: a model that gives one answer to almost everything was asked, or read, wrongly."""

from collections import Counter
from collections.abc import Iterator

from crossgrade.decide import Guard, GuardKind, View, finding

_MOST = 0.9
_LEAST_ANSWERS = 20


def look(view: View) -> Iterator[Guard]:
    """Fail where nine in ten answers of a candidate are the same text."""
    for candidate in view.evidence.candidates:
        texts = candidate.output if candidate.output is not None else ()
        given = [text for text, here in zip(texts, view.whole.rows, strict=False) if here and text]
        text, times = Counter(given).most_common(1)[0] if given else ("", 0)
        share = times / len(given) if given else 0.0
        yield finding(
            "same-answer",
            f"{times:,} of {candidate.model}'s {len(given):,} answers are the same: {text[:40]!r}",
            "read some of its answers: is the prompt whole?",
            fail=len(given) >= _LEAST_ANSWERS and share > _MOST,
            candidate=candidate.model,
        )


SAME_ANSWER = GuardKind(name="same-answer", look=look)
