"""What the table of a conformity check is made of, and what its rows have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from crossgrade.domain import ConformCheck, ConformOutcome, ModelAnswer
from crossgrade.evidence._conform_asking import ConformSide
from crossgrade.evidence._conform_questions import ConformQuestion, ConformSettings

Count = Callable[[str], int]

_TESTED = ("context", "copy", "tools", "schema", "stop", "log-probabilities", "greedy")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformInput:
    """What the table is made of: the offer's side, the other one (None: there is none), and what was asked.

    `count` counts the tokens of a text by the model's own tokenizer, None without an exact one.
    `last_version` is what the offer was seen to serve at its last check, None if that is not known.
    `shortfalls` are those of the greedy answers where the other side is the reference, None where it is not.
    """

    side: ConformSide
    other: ConformSide | None
    questions: Sequence[ConformQuestion]
    settings: ConformSettings
    count: Count | None = None
    last_version: str | None = None
    shortfalls: Mapping[str, float] | None = None

    @property
    def row_alpha(self) -> float:
        """The error rate of each tested row beside `answers`, which has half of all."""
        return self.settings.alpha / 2 / len(_TESTED)


def row_of(
    name: str,
    seen: str,
    outcome: ConformOutcome,
    *,
    expected: str = "",
    p_value: float | None = None,
    answers: int = 0,
) -> ConformCheck:
    """Return a row of the table."""
    return ConformCheck(
        name=name, outcome=outcome, seen=seen, expected=expected, p_value=p_value, answers=answers
    )


def unchecked(given: ConformInput, name: str) -> ConformCheck | None:
    """Return the row of a check without answers on a side that is asked, None if there are some."""
    side, other = given.side, given.other
    if side.of(name) and (other is None or other.of(name)):
        return None
    why = side.why(name)
    if other is not None and (side.of(name) or why is None) and (theirs := other.why(name)) is not None:
        why = f"not compared: {other.name}: {theirs}"
    return row_of(name, why or "there was no answer", "unchecked")


def input_counts(side: ConformSide, check: str) -> dict[str, int]:
    """Return the input tokens of each question of a check whose host counted them."""
    counts = {key: found[0].usage.input_tokens for key, found in side.of(check).items() if found}
    return {key: count for key, count in counts.items() if count is not None}


def drawn_answers(side: ConformSide, ending: str) -> dict[str, list[ModelAnswer]]:
    """Return the answers to the open questions whose keys have this ending: `/t0` or `/t1`."""
    return {key: found for key, found in side.of("answers").items() if key.endswith(ending)}


def is_cached(side: ConformSide) -> bool:
    """Return whether drawn answers are repeated and are not the greedy ones: then each was drawn only once.

    What such a host serves later cannot be seen, so its answers are no fingerprint. A host that ignores the
    temperature repeats its greedy answers instead.
    """
    if not is_frozen(side):
        return False
    found = side.of("answers")
    pairs = [(found[f"{key[:-1]}0"], each) for key, each in found.items() if f"{key[:-1]}0" in found]
    drawn = [(greedy, own) for greedy, own in pairs if greedy is not own]
    apart = sum(own[0].text not in {each.text for each in greedy} for greedy, own in drawn)
    return apart > len(drawn) / 2


def is_frozen(side: ConformSide) -> bool | None:
    """Return whether no question has two different answers at temperature 1, None if too few have two."""
    several = [found for found in drawn_answers(side, "/t1").values() if len(found) > 1]
    if len(several) < 3:
        return None
    return all(len({each.text for each in found}) == 1 for found in several)
