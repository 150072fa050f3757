"""The table of a conformity check: what agrees, what differs, and whether that is more than chance.

Answers are compared by tests that share `alpha`: half of it is for the answers themselves, and each other
test has an equal part of the rest. Counts of tokens and versions have no noise and are compared exactly.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence, Set
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
    ended_at_limit,
    host_of,
)
from crossgrade.evidence._conform_asking import REFUSED, ConformSide
from crossgrade.evidence._conform_given import (
    ConformInput,
    drawn_answers,
    input_counts,
    is_cached,
    is_frozen,
    row_of,
    unchecked,
)
from crossgrade.evidence._conform_questions import (
    ANSWER_TOKENS,
    COUNTED_TEXTS,
    ConformQuestion,
    ConformSettings,
    of_check,
)
from crossgrade.evidence._conform_weights import answers_row, greedy_rows, logprobs_row
from crossgrade.stats import answers_differ

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

_COUNT_TOLERANCE = (3, 0.01)
"""Tokens, and the share of a count, by which text may count differently where it touches the template."""

Does = Callable[[ConformQuestion, ModelAnswer], bool]


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
        logprobs_row(given),
        *greedy_rows(given),
        answers_row(given),
        _latency(side, given.other),
    ]
    return tuple(rows)


def fingerprint_of(offer: Offer, side: ConformSide, at: datetime) -> Fingerprint:
    """Return what an offer was seen to be: its address, its version, and the digest of its answers."""
    texts = sorted((key, [each.text for each in found]) for key, found in side.of("answers").items())
    counts = sorted(input_counts(side, "template").items())
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


def _version(given: ConformInput) -> ConformCheck:
    versions, last = given.side.versions, given.last_version
    seen = ", ".join(versions[:4]) or "the host names no version"
    if len(versions) > 1:
        return row_of("version", f"changed during the check: {seen}", "differs", expected="one version")
    if last is not None and versions and versions[0] != last:
        return row_of("version", seen, "differs", expected=f"{last} at the last check")
    if last is not None and versions:
        return row_of("version", seen, "agrees", expected="as at the last check")
    return row_of("version", seen, "seen" if versions else "unchecked")


def _template(given: ConformInput) -> ConformCheck:
    """Compare the tokens of conversations of several shapes, which a chat template wraps differently."""
    if (gap := unchecked(given, "template")) is not None:
        return gap
    ours = input_counts(given.side, "template")
    if not ours:
        return row_of("template", "the host counts no tokens", "unchecked")
    return _exact(given, "template", ours, "tokens of short conversations")


def _exact(given: ConformInput, name: str, ours: Mapping[str, int], what: str) -> ConformCheck:
    """Compare counts that have no noise with the other side's."""
    if given.other is None:
        return row_of(name, f"{_numbers(ours.values())} {what}", "seen", answers=len(ours))
    theirs = input_counts(given.other, name)
    both = [key for key in ours if key in theirs]
    if not both:
        return row_of(name, f"{_numbers(ours.values())} {what}", "unchecked", expected="no counts")
    same = all(ours[key] == theirs[key] for key in both)
    return row_of(
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
        return row_of(name, given.side.gap(name), "unchecked")
    ours = input_counts(given.side, name)
    if not ours:
        return row_of(name, "the host counts no tokens", "unchecked")
    base = input_counts(given.side, "template").get("user")
    if given.count is None or base is None:
        return _exact(given, name, ours, "tokens of three texts")
    frame = base - given.count("Hello.")
    expected = {key: given.count(COUNTED_TEXTS[key].strip()) + frame for key in ours}
    fixed, share = _COUNT_TOLERANCE
    same = all(abs(ours[key] - expected[key]) <= fixed + share * expected[key] for key in ours)
    return row_of(
        name,
        f"{_numbers(ours.values())} tokens of three texts",
        "agrees" if same else "differs",
        expected=f"{_numbers(expected.values())} by its tokenizer",
        answers=len(ours),
    )


def _functions(given: ConformInput, name: str, word: str, does: Does) -> ConformCheck:
    """Compare how often each side does what is asked, by the same test as the answers themselves."""
    if (gap := unchecked(given, name)) is not None:
        return gap
    ours = _done(given, given.side, name, does)
    seen = f"{_share(ours)} {word}"
    total = sum(map(len, ours.values()))
    if given.other is None:
        return row_of(name, seen, "seen", answers=total)
    theirs = _done(given, given.other, name, does)
    if not ours.keys() & theirs.keys():
        return row_of(
            name, f"{seen}; {given.other.name} answered other questions", "unchecked", answers=total
        )
    found = answers_differ([(theirs, ours)], alpha=given.row_alpha, seed=given.settings.seed)
    alike: ConformOutcome = "agrees" if found.could_differ else "open"
    return row_of(
        name,
        seen,
        "differs" if found.outcome == "differs" else alike,
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
    """Compare which lengths are read to their beginning, and whether counts grow as the prompts do.

    Only lengths that both sides answered, or refused for their length, are compared.
    """
    done = _functions(given, "context", "facts found", lambda asked, found: asked.expects in found.text)
    if done.outcome == "unchecked":
        return done
    ours, cut = _taken(given.side, given.settings), _cut(given.side, given.settings)
    seen = f"{done.seen}; {_reach(ours)}{cut}"
    if len(ours) < len(given.settings.lengths):
        seen += f"; the others: {given.side.gap('context')}"
    if given.other is None:
        outcome: ConformOutcome = "differs" if cut else "seen"
        return row_of(
            "context", seen, outcome, expected="the whole prompt" if cut else "", answers=done.answers
        )
    theirs = _taken(given.other, given.settings)
    counts, their_counts = input_counts(given.side, "context"), input_counts(given.other, "context")
    both = counts.keys() & their_counts.keys()
    differs = any(ours[tokens] != theirs[tokens] for tokens in ours.keys() & theirs.keys())
    return row_of(
        "context",
        seen,
        "differs" if differs or _growth(counts, both) != _growth(their_counts, both) else done.outcome,
        expected=f"{done.expected}; {_reach(theirs)}",
        p_value=done.p_value,
        answers=done.answers,
    )


def _growth(counts: Mapping[str, int], keys: Set[str]) -> list[int]:
    """Return by how much each count exceeds the smallest, which no template changes."""
    found = [counts[key] for key in sorted(keys)]
    return [each - min(found) for each in found]


def _taken(side: ConformSide, settings: ConformSettings) -> dict[int, bool]:
    """Return whether prompts of each length that was answered are taken, or refused for it."""
    found: dict[int, bool] = {}
    for key, answers in side.of("context").items():
        tokens = int(key.partition("/")[0])
        taken = any(each.finish_reason != REFUSED for each in answers)
        found[tokens] = found.get(tokens, False) or taken
    return {tokens: found[tokens] for tokens in settings.lengths if tokens in found}


def _reach(taken: Mapping[int, bool]) -> str:
    """Return the longest prompts that were taken, in words."""
    longest = max((tokens for tokens, is_taken in taken.items() if is_taken), default=None)
    return "no long prompt is taken" if longest is None else f"prompts of {longest:,} tokens are taken"


def _cut(side: ConformSide, settings: ConformSettings) -> str:
    """Return that long prompts are cut without a word, if their counts stop growing; else nothing."""
    counts = input_counts(side, "context")
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
    done = _functions(given, "tools", "called as asked", lambda _, found: wrong_call(found) is None)
    if done.outcome == "unchecked":
        return done
    ours = _tool_tokens(given.side)
    if ours is None:
        return done
    seen = f"{done.seen}; the tool takes {ours:,} tokens of the prompt"
    theirs = None if given.other is None else _tool_tokens(given.other)
    if theirs is None:
        dropped = ours <= 0
        return row_of(
            "tools",
            seen,
            "differs" if dropped else done.outcome,
            expected="the tool in the prompt" if dropped else done.expected,
            p_value=done.p_value,
            answers=done.answers,
        )
    return row_of(
        "tools",
        seen,
        "differs" if ours != theirs else done.outcome,
        expected=f"{done.expected}; {theirs:,} tokens",
        p_value=done.p_value,
        answers=done.answers,
    )


def _tool_tokens(side: ConformSide) -> int | None:
    """Return the tokens by which the definition of a tool lengthens the prompt, None if not counted."""
    counts = input_counts(side, "tools")
    return counts["with"] - counts["without"] if counts.keys() >= {"with", "without"} else None


def _seed(given: ConformInput) -> ConformCheck:
    """Say whether a seed repeats an answer, which hosts need not promise."""
    if (gap := unchecked(given, "seed")) is not None:
        return gap
    seen, expected = _repeats(given.side.of("seed")), ""
    if not seen:
        return row_of("seed", f"no question was answered twice: {given.side.gap('seed')}", "unchecked")
    if given.other is not None:
        expected = _repeats(given.other.of("seed"))
    outcome: ConformOutcome = "agrees" if seen == expected else "seen"
    return row_of("seed", f"{seen} repeated", outcome, expected=expected)


def _repeats(found: Mapping[str, Sequence[ModelAnswer]]) -> str:
    """Return how many of the questions with several answers have equal ones, nothing if there are none."""
    several = [answers for answers in found.values() if len(answers) > 1]
    same = sum(len({each.text for each in answers}) == 1 for answers in several)
    return f"{same} of {len(several)}" if several else ""


def _determinism(given: ConformInput) -> ConformCheck:
    """Say how many greedy questions have the same answer each time."""
    seen = _repeats(drawn_answers(given.side, "/t0"))
    if not seen:
        return row_of("determinism", given.side.gap("answers"), "unchecked")
    greedy = None if given.other is None else drawn_answers(given.other, "/t0")
    expected = _repeats(greedy) if greedy else ""
    outcome: ConformOutcome = "agrees" if seen == expected else "seen"
    return row_of("determinism", f"{seen} repeated at temperature 0", outcome, expected=expected)


def _temperature(given: ConformInput) -> ConformCheck:
    """Say whether answers at temperature 1 vary; if none does, it is ignored, or answers are cached."""
    ours = is_frozen(given.side)
    if ours is None:
        return row_of("temperature", given.side.gap("answers"), "unchecked")
    seen = "answers at temperature 1 are all the same" if ours else "answers at temperature 1 vary"
    if is_cached(given.side):
        seen = "answers at temperature 1 are repeated word for word, as by a cache, which hides a swap"
        return row_of("temperature", seen, "differs", expected="they vary")
    theirs = None if given.other is None else is_frozen(given.other)
    if ours and not theirs:
        return row_of("temperature", seen, "differs", expected="they vary")
    if theirs is None:
        return row_of("temperature", seen, "seen")
    return row_of("temperature", seen, "agrees" if ours == theirs else "differs")


def _latency(side: ConformSide, other: ConformSide | None) -> ConformCheck:
    """Say how long the compared answers took: a fact, which does not say what is served."""
    ours = _median_ms(side)
    if ours is None:
        return row_of("latency", side.gap("answers"), "unchecked")
    theirs = None if other is None else _median_ms(other)
    expected = "" if theirs is None else f"{theirs:,.0f} ms"
    seen = f"{ours:,.0f} ms for an answer of up to {ANSWER_TOKENS} tokens (median)"
    return row_of("latency", seen, "seen", expected=expected)


def _median_ms(side: ConformSide) -> float | None:
    times = [
        each.latency_ms
        for found in side.of("answers").values()
        for each in found
        if each.latency_ms is not None and ended_at_limit(each.finish_reason) is not None
    ]
    return statistics.median(times) if times else None
