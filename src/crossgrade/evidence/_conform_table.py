"""The table of a conformity check: what agrees, what differs, and whether that is more than chance.

Answers are compared by tests that share `alpha`: half of it is for the answers themselves, and each other
test has an equal part of the rest. Counts of tokens and versions have no noise and are compared exactly.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from crossgrade.calls import digest
from crossgrade.calls.live import wrong_call, wrong_city
from crossgrade.domain import (
    ConformCheck,
    ConformOutcome,
    Fingerprint,
    ModelAnswer,
    Offer,
    TokenLogprob,
    ended_at_limit,
    host_of,
)
from crossgrade.evidence._conform_asking import REFUSED, ConformSide
from crossgrade.evidence._conform_questions import (
    ANSWER_TOKENS,
    COUNTED_TEXTS,
    ConformQuestion,
    ConformSettings,
    of_check,
)
from crossgrade.stats import (
    AnswerDifference,
    LogprobDifference,
    PartingDifference,
    answers_differ,
    greedy_parts,
    logprob_gap,
    logprobs_differ,
)

CHECKS = (
    "version",
    "template",
    "token-counts",
    "context",
    "copy",
    "tools",
    "schema",
    "stop",
    "seed",
    "determinism",
    "temperature",
    "log-probabilities",
    "greedy",
    "answers",
    "latency",
)
"""The rows of the table, in their order; `greedy` is there only beside another side."""

_TESTED = ("context", "copy", "tools", "schema", "stop", "log-probabilities", "greedy")
_APART_NATS = 1.0
"""The gap of two answers without a common token among the likeliest: more than the test counts."""

_COUNT_TOLERANCE = (3, 0.01)
"""Tokens, and the share of a count, by which text may count differently where it touches the template."""

Does = Callable[[ConformQuestion, ModelAnswer], bool]
Count = Callable[[str], int]


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


def conform_table(given: ConformInput) -> tuple[ConformCheck, ...]:
    """Return all rows of the table, each with an outcome."""
    side = given.side
    rows = [
        _version(given),
        _template(given),
        _counts(given),
        _context(given),
        _functions(given, "copy", "copied exactly", lambda asked, found: asked.expects in found.text),
        _tools(given),
        _functions(given, "schema", "as the schema asks", lambda _, found: wrong_city(found) is None),
        _functions(given, "stop", "stopped at the text", lambda _, found: " the" not in found.text),
        _seed(given),
        _determinism(given),
        _temperature(given),
        _logprobs(given),
        *_greedy(given),
        _answers(given),
        _latency(side, given.other),
    ]
    return tuple(rows)


def _answer_stages(
    side: ConformSide, other: ConformSide, settings: ConformSettings
) -> list[tuple[dict[str, list[str]], dict[str, list[str]]]]:
    """Return the texts of the answers at temperature 1 by stage: the other side's, and the side's.

    A stage in which no question was answered by both ends the list.
    """
    stages, first = [], 1
    for draws in settings.stages:
        theirs, ours = (
            {
                key: [answer.text for answer in found]
                for key, found in each.of("answers", range(first, first + draws)).items()
                if key.endswith("/t1")
            }
            for each in (other, side)
        )
        if not theirs.keys() & ours.keys():
            break
        stages.append((theirs, ours))
        first += draws
    return stages


def answers_so_far(
    side: ConformSide, other: ConformSide, settings: ConformSettings
) -> AnswerDifference | None:
    """Return what the test on the answers says after the stages that both sides have; None without any.

    Greedy answers are not among them, nor those of two hosts that ignore the temperature: each host repeats
    its own, and two kernels round differently.
    """
    stages = _answer_stages(side, other, settings)
    if not stages or (_is_frozen(side) and _is_frozen(other)):
        return None
    return answers_differ(stages, alpha=settings.alpha / 2, looks=len(settings.stages), seed=settings.seed)


def fingerprint_of(offer: Offer, side: ConformSide, at: datetime) -> Fingerprint:
    """Return what an offer was seen to be: its address, its version, and the digest of its answers."""
    texts = sorted((key, [each.text for each in found]) for key, found in side.of("answers").items())
    counts = sorted(_input_counts(side, "template").items())
    versions = side.versions
    return Fingerprint(
        offer=offer.name,
        provider=offer.provider,
        model=offer.model,
        host=host_of(offer),
        version=versions[-1] if versions else None,
        digest=f"sha256:{digest((texts, counts, versions))}",
        at=at,
    )


def _row(
    name: str,
    seen: str,
    outcome: ConformOutcome,
    *,
    expected: str = "",
    p_value: float | None = None,
    answers: int = 0,
) -> ConformCheck:
    return ConformCheck(
        name=name, outcome=outcome, seen=seen, expected=expected, p_value=p_value, answers=answers
    )


def _unchecked(given: ConformInput, name: str) -> ConformCheck | None:
    """Return the row of a check without answers on a side that is asked, None if there are some."""
    if not given.side.of(name):
        return _row(name, given.side.gap(name), "unchecked")
    if given.other is not None and not given.other.of(name):
        return _row(name, f"not compared: {given.other.name}: {given.other.gap(name)}", "unchecked")
    return None


def _version(given: ConformInput) -> ConformCheck:
    versions, last = given.side.versions, given.last_version
    seen = ", ".join(versions[:4]) or "the host names no version"
    if len(versions) > 1:
        return _row("version", f"changed during the check: {seen}", "differs", expected="one version")
    if last is not None and versions and versions[0] != last:
        return _row("version", seen, "differs", expected=f"{last} at the last check")
    if last is not None and versions:
        return _row("version", seen, "agrees", expected="as at the last check")
    return _row("version", seen, "seen" if versions else "unchecked")


def _input_counts(side: ConformSide, check: str) -> dict[str, int]:
    """Return the input tokens of each question of a check whose host counted them."""
    counts = {key: found[0].usage.input_tokens for key, found in side.of(check).items() if found}
    return {key: count for key, count in counts.items() if count is not None}


def _template(given: ConformInput) -> ConformCheck:
    """Compare the tokens of conversations of several shapes, which a chat template wraps differently."""
    if (gap := _unchecked(given, "template")) is not None:
        return gap
    ours = _input_counts(given.side, "template")
    if not ours:
        return _row("template", "the host counts no tokens", "unchecked")
    return _exact(given, "template", ours, "tokens of short conversations")


def _exact(given: ConformInput, name: str, ours: Mapping[str, int], what: str) -> ConformCheck:
    """Compare counts that have no noise with the other side's."""
    if given.other is None:
        return _row(name, f"{_numbers(ours.values())} {what}", "seen", answers=len(ours))
    theirs = _input_counts(given.other, name)
    both = [key for key in ours if key in theirs]
    if not both:
        return _row(name, f"{_numbers(ours.values())} {what}", "unchecked", expected="no counts")
    same = all(ours[key] == theirs[key] for key in both)
    return _row(
        name,
        f"{_numbers(ours[key] for key in both)} {what}",
        "agrees" if same else "differs",
        expected=_numbers(theirs[key] for key in both),
        answers=len(both),
    )


def _numbers(counts: object) -> str:
    return ", ".join(f"{count:,}" for count in counts)  # type: ignore[attr-defined]  # any iterable


def _counts(given: ConformInput) -> ConformCheck:
    """Compare the host's counts with the tokenizer's, without what the template adds; else both hosts'."""
    name = "token-counts"
    if not given.side.of(name):
        return _row(name, given.side.gap(name), "unchecked")
    ours = _input_counts(given.side, name)
    if not ours:
        return _row(name, "the host counts no tokens", "unchecked")
    base = _input_counts(given.side, "template").get("user")
    if given.count is None or base is None:
        return _exact(given, name, ours, "tokens of three texts")
    frame = base - given.count("Hello.")
    expected = {key: given.count(COUNTED_TEXTS[key].strip()) + frame for key in ours}
    fixed, share = _COUNT_TOLERANCE
    same = all(abs(ours[key] - expected[key]) <= fixed + share * expected[key] for key in ours)
    return _row(
        name,
        f"{_numbers(ours.values())} tokens of three texts",
        "agrees" if same else "differs",
        expected=f"{_numbers(expected.values())} by its tokenizer",
        answers=len(ours),
    )


def _functions(given: ConformInput, name: str, word: str, does: Does) -> ConformCheck:
    """Compare how often each side does what is asked, by the same test as the answers themselves."""
    if (gap := _unchecked(given, name)) is not None:
        return gap
    ours = _done(given, given.side, name, does)
    seen = f"{_share(ours)} {word}"
    total = sum(map(len, ours.values()))
    if given.other is None:
        return _row(name, seen, "seen", answers=total)
    theirs = _done(given, given.other, name, does)
    found = answers_differ(
        [(theirs, ours)], alpha=given.settings.alpha / 2 / len(_TESTED), seed=given.settings.seed
    )
    return _row(
        name,
        seen,
        "differs" if found.outcome == "differs" else "agrees",
        expected=_share(theirs),
        p_value=found.p_value,
        answers=total,
    )


def _done(given: ConformInput, side: ConformSide, name: str, does: Does) -> dict[str, list[str]]:
    """Return for each draw whether a side did what was asked, as "1" or "0"."""
    asked = {each.key: each for each in of_check(given.questions, name) if each.draws > 1}
    return {
        key: [str(int(does(asked[key], each))) for each in found]
        for key, found in side.of(name).items()
        if key in asked
    }


def _share(done: Mapping[str, Sequence[str]]) -> str:
    total = sum(map(len, done.values()))
    return f"{sum(each.count('1') for each in done.values())} of {total}"


def _context(given: ConformInput) -> ConformCheck:
    """Compare which lengths are read to their beginning, and whether counts grow as the prompts do."""
    row = _functions(given, "context", "facts found", lambda asked, found: asked.expects in found.text)
    if row.outcome == "unchecked":
        return row
    reach = _reach(given.side, given.settings)
    seen = f"{row.seen}; {reach}"
    if given.other is None:
        cut = _cut(given.side, given.settings)
        outcome: ConformOutcome = "differs" if cut else "seen"
        return _row(
            "context",
            f"{seen}{cut}",
            outcome,
            expected="the whole prompt" if cut else "",
            answers=row.answers,
        )
    other = _reach(given.other, given.settings)
    ours, theirs = _input_counts(given.side, "context"), _input_counts(given.other, "context")
    grown = _growth(ours), _growth(theirs)
    differs = reach != other or (None not in grown and grown[0] != grown[1])
    return _row(
        "context",
        f"{seen}{_cut(given.side, given.settings)}",
        "differs" if differs else row.outcome,
        expected=f"{row.expected}; {other}",
        p_value=row.p_value,
        answers=row.answers,
    )


def _growth(counts: Mapping[str, int]) -> list[int] | None:
    """Return by how much each count exceeds the smallest, which no template changes."""
    return [counts[key] - min(counts.values()) for key in sorted(counts)] or None


def _reach(side: ConformSide, settings: ConformSettings) -> str:
    """Return the longest prompts that were taken, in words."""
    found = side.of("context")
    taken = [
        tokens
        for tokens in settings.lengths
        if any(
            each.finish_reason != REFUSED
            for key, answers in found.items()
            if key.startswith(f"{tokens}/")
            for each in answers
        )
    ]
    return f"prompts of {max(taken):,} tokens are taken" if taken else "no long prompt is taken"


def _cut(side: ConformSide, settings: ConformSettings) -> str:
    """Return that long prompts are cut without a word, if their counts stop growing; else nothing."""
    counts = _input_counts(side, "context")
    largest = {
        tokens: max((count for key, count in counts.items() if key.startswith(f"{tokens}/")), default=0)
        for tokens in settings.lengths
    }
    known = [(tokens, count) for tokens, count in largest.items() if count]
    for (shorter, before), (longer, after) in pairwise(known):
        if after < before + (longer - shorter) / 4:
            return f"; longer ones are cut to about {after:,} without a word"
    return ""


def _tools(given: ConformInput) -> ConformCheck:
    """Compare calls of a tool, and the tokens that its definition takes: none, if it is dropped."""
    row = _functions(given, "tools", "called as asked", lambda _, found: wrong_call(found) is None)
    if row.outcome == "unchecked":
        return row
    ours = _tool_tokens(given.side)
    if ours is None:
        return row
    seen = f"{row.seen}; the tool takes {ours:,} tokens of the prompt"
    theirs = None if given.other is None else _tool_tokens(given.other)
    if theirs is None:
        dropped = ours <= 0
        return _row(
            "tools",
            seen,
            "differs" if dropped else row.outcome,
            expected="the tool in the prompt" if dropped else row.expected,
            p_value=row.p_value,
            answers=row.answers,
        )
    return _row(
        "tools",
        seen,
        "differs" if ours != theirs else row.outcome,
        expected=f"{row.expected}; {theirs:,} tokens",
        p_value=row.p_value,
        answers=row.answers,
    )


def _tool_tokens(side: ConformSide) -> int | None:
    """Return the tokens by which the definition of a tool lengthens the prompt, None if not counted."""
    counts = _input_counts(side, "tools")
    return counts["with"] - counts["without"] if counts.keys() >= {"with", "without"} else None


def _seed(given: ConformInput) -> ConformCheck:
    """Say whether a seed repeats an answer, which hosts need not promise."""
    if (gap := _unchecked(given, "seed")) is not None:
        return gap
    seen, expected = _repeats(given.side.of("seed")), ""
    if given.other is not None:
        expected = _repeats(given.other.of("seed"))
    outcome: ConformOutcome = "agrees" if seen == expected else "seen"
    return _row("seed", f"{seen} repeated", outcome, expected=expected)


def _repeats(found: Mapping[str, Sequence[ModelAnswer]]) -> str:
    several = [answers for answers in found.values() if len(answers) > 1]
    return f"{sum(len({each.text for each in answers}) == 1 for answers in several)} of {len(several)}"


def _drawn(side: ConformSide, ending: str) -> dict[str, list[ModelAnswer]]:
    return {key: found for key, found in side.of("answers").items() if key.endswith(ending)}


def _determinism(given: ConformInput) -> ConformCheck:
    """Say how many greedy questions have the same answer each time."""
    seen = _repeats(_drawn(given.side, "/t0"))
    if not given.side.of("answers"):
        return _row("determinism", given.side.gap("answers"), "unchecked")
    greedy = None if given.other is None else _drawn(given.other, "/t0")
    expected = _repeats(greedy) if greedy else ""
    outcome: ConformOutcome = "agrees" if seen == expected else "seen"
    return _row("determinism", f"{seen} repeated at temperature 0", outcome, expected=expected)


def _temperature(given: ConformInput) -> ConformCheck:
    """Say whether answers at temperature 1 vary; if none does, it is ignored, or answers are cached."""
    ours = _is_frozen(given.side)
    if ours is None:
        return _row("temperature", given.side.gap("answers"), "unchecked")
    seen = "answers at temperature 1 are all the same" if ours else "answers at temperature 1 vary"
    if is_cached(given.side):
        seen = "answers at temperature 1 are repeated word for word, as by a cache, which hides a swap"
        return _row("temperature", seen, "differs", expected="they vary")
    theirs = None if given.other is None else _is_frozen(given.other)
    if ours and not theirs:
        return _row("temperature", seen, "differs", expected="they vary")
    if theirs is None:
        return _row("temperature", seen, "seen")
    return _row("temperature", seen, "agrees" if ours == theirs else "differs")


def is_cached(side: ConformSide) -> bool:
    """Return whether drawn answers are repeated and are not the greedy ones: then each was drawn only once.

    What such a host serves later cannot be seen, so its answers are no fingerprint. A host that ignores the
    temperature repeats its greedy answers instead.
    """
    if not _is_frozen(side):
        return False
    found = side.of("answers")
    pairs = [(found[f"{key[:-1]}0"], each) for key, each in found.items() if f"{key[:-1]}0" in found]
    drawn = [(greedy, own) for greedy, own in pairs if greedy is not own]
    apart = sum(own[0].text not in {each.text for each in greedy} for greedy, own in drawn)
    return apart > len(drawn) / 2


def _is_frozen(side: ConformSide) -> bool | None:
    """Return whether no question has two different answers at temperature 1, None if too few have two."""
    several = [found for found in _drawn(side, "/t1").values() if len(found) > 1]
    if len(several) < 3:
        return None
    return all(len({each.text for each in found}) == 1 for found in several)


def _logprobs(given: ConformInput) -> ConformCheck:
    """Compare the log-probabilities of the likeliest tokens, with a tolerance for other kernels."""
    name = "log-probabilities"
    if (gap := _unchecked(given, name)) is not None:
        return gap
    ours = {key: found[0].logprobs for key, found in given.side.of(name).items() if found[0].logprobs}
    if not ours:
        return _row(name, "the host gives none", "unchecked")
    if given.other is None:
        return _row(name, f"given for {len(ours)} answers", "seen", answers=len(ours))
    theirs = {key: found[0].logprobs for key, found in given.other.of(name).items() if found[0].logprobs}
    gaps = [
        logprob_gap(_as_pairs(theirs[key]), _as_pairs(ours[key]))
        for key in sorted(ours.keys() & theirs.keys())
    ]
    known = [gap for gap in gaps if gap is not None]
    if not known:
        return _row(name, f"not compared: {given.other.name} gives none", "unchecked")
    # Where other answers share tokens, one whose likeliest tokens are all others is as far apart as can be.
    far = [_APART_NATS if gap is None else gap for gap in gaps]
    found = logprobs_differ(far, alpha=given.settings.alpha / 2 / len(_TESTED))
    expected = f"at most {found.tolerance_nats:g}"
    return _bet_row(name, f"{found.mean_gap:.4f} nats apart on average", found, expected)


def _bet_row(
    name: str, seen: str, found: LogprobDifference | PartingDifference, expected: str
) -> ConformCheck:
    """Return the row of a test with a tolerance: open if that is exceeded, but not shown to be."""
    agrees: ConformOutcome = "agrees" if found.is_within else "open"
    return _row(
        name,
        seen,
        "differs" if found.outcome == "differs" else agrees,
        expected=expected,
        p_value=min(1.0, 1 / found.e_value) if found.e_value else None,
        answers=found.n,
    )


def _as_pairs(places: Sequence[TokenLogprob]) -> list[tuple[str, Mapping[str, float]]]:
    return [(each.token, {**each.top, each.token: each.logprob}) for each in places]


def _greedy(given: ConformInput) -> list[ConformCheck]:
    """Compare greedy answers up to where they part, with a tolerance for other kernels."""
    name, alpha, gaps = "greedy", given.settings.alpha / 2 / len(_TESTED), given.shortfalls
    if given.other is None:
        return []
    if gaps:
        shown = logprobs_differ([gaps[key] for key in sorted(gaps)], alpha=alpha)
        seen = (
            f"{sum(gap == 0 for gap in gaps.values())} of {len(gaps)} answers are the reference's; where one "
            f"leaves it, its token is less likely, {shown.mean_gap:.4f} nats on average"
        )
        return [_bet_row(name, seen, shown, f"at most {shown.tolerance_nats:g}")]
    ours, theirs = _drawn(given.side, "/t0"), _drawn(given.other, "/t0")
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        why = f"not compared: {given.other.name}: {given.other.gap('answers')}"
        return [_row(name, why if ours else given.side.gap("answers"), "unchecked")]
    found = greedy_parts([(theirs[key][0].text, ours[key][0].text) for key in both], alpha=alpha)
    seen = f"{found.partings} of {found.n} answers part, within {found.tokens:,} tokens"
    return [_bet_row(name, seen, found, f"at most {found.tolerance:.0%} of the tokens")]


def _answers(given: ConformInput) -> ConformCheck:
    """Compare the answers at temperature 1 by a two-sample test."""
    if (gap := _unchecked(given, "answers")) is not None:
        return gap
    if given.other is None:
        total = sum(map(len, given.side.of("answers").values()))
        return _row("answers", f"{total} answers are kept", "seen", answers=total)
    found = answers_so_far(given.side, given.other, given.settings)
    if found is None:
        return _row("answers", "no question has answers of both that vary", "unchecked")
    stages = f"; {found.look} of {found.looks} stages were answered" if found.outcome == "open" else ""
    outcomes: dict[str, ConformOutcome] = {"differs": "differs", "alike": "agrees", "open": "open"}
    return _row(
        "answers",
        f"{found.similarity_between:.3f} alike between the two{stages}",
        outcomes[found.outcome],
        expected=f"{found.similarity_within:.3f} within each",
        p_value=found.p_value,
        answers=found.n_checked,
    )


def _latency(side: ConformSide, other: ConformSide | None) -> ConformCheck:
    """Say how long the compared answers took: a fact, which does not say what is served."""
    ours = _median_ms(side)
    if ours is None:
        return _row("latency", side.gap("answers"), "unchecked")
    theirs = None if other is None else _median_ms(other)
    expected = "" if theirs is None else f"{theirs:,.0f} ms"
    seen = f"{ours:,.0f} ms for an answer of up to {ANSWER_TOKENS} tokens (median)"
    return _row("latency", seen, "seen", expected=expected)


def _median_ms(side: ConformSide) -> float | None:
    times = [
        each.latency_ms
        for found in side.of("answers").values()
        for each in found
        if each.latency_ms is not None and ended_at_limit(each.finish_reason) is not None
    ]
    return statistics.median(times) if times else None
