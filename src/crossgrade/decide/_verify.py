"""Whether a recorded verdict is what its evidence says."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from crossgrade.decide._decide import decide_policy, valid_until
from crossgrade.decide._evidence import Evidence
from crossgrade.decide._guards import GUARDS, GuardKind
from crossgrade.decide._json import verdict_to_json
from crossgrade.decide._records import Loss, Verdict, sentences
from crossgrade.decide._texts import verdict_without_texts
from crossgrade.decide._tuning_reasons import wrong_round
from crossgrade.errors import DataError
from crossgrade.stats import METHOD_VERSION

_REL = 1e-9
"""Numbers may differ this much between machines; the outcome may not differ at all."""

_LONGEST = 80
"""So many characters of a value are shown where it differs."""

_WORDS = frozenset({"sentence", "reasons", "would_change", "seen", "advice", "wanted", "reason"})
"""The fields that are sentences. Only the release that wrote them can say whether they are its own."""

_LASTING = (
    "workload",
    "incumbent",
    "candidates",
    "floor",
    "alpha",
    "seed",
    "planned",
    "asked",
    "price_sources",
    "evidence_digest",
)
"""What evidence and settings say of a verdict whatever the method."""

_KINDS = {"switch": "switch", "split": "split"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A recorded verdict beside the one that its evidence and settings give now (`today`).

    Each of `differences` makes the recorded verdict false. It reads `place: recorded X, computed Y`.
    `rounded` counts the numbers that are the same up to rounding and not to the last bit.
    """

    today: Verdict
    differences: tuple[str, ...] = ()
    rounded: int = 0


def recompute(verdict: Verdict, evidence: Evidence, guards: Mapping[str, GuardKind] = GUARDS) -> Verdict:
    """Return the verdict computed again from recorded evidence, under the recorded settings and time.

    `guards` are those that it was decided with.
    """
    return decide_policy(
        evidence,
        verdict.settings,
        now=verdict.decided_at,
        run_id=verdict.run_id,
        spent_usd=verdict.spent_usd,
        guards=guards,
    )


def verify(verdict: Verdict, evidence: Evidence) -> tuple[str, ...]:
    """Return how a recorded verdict differs from one computed again; empty where it does not.

    See `compare`, which says more.
    """
    return compare(verdict, evidence).differences


def compare(
    verdict: Verdict,
    evidence: Evidence,
    guards: Mapping[str, GuardKind] = GUARDS,
    *,
    with_texts: bool = True,
) -> Comparison:
    """Compute a recorded verdict again and compare everything in it.

    Sentences must be the same word for word where this very release wrote them. Those of another release are
    not compared: only the sentences of `today` are known to be true. A verdict of an older method cannot be
    computed again. Of that one is compared what does not depend on the method: that it was made from this
    evidence under these settings, and that its own certificates support its policy. It may not name this
    release, which has another method. Whether today's method agrees is for the caller to ask of `today`.
    Without `with_texts` numbers stand for texts (`evidence_without_texts`), and losses have none.
    Raises `DataError` for a method that this release does not know.
    """
    if not 1 <= verdict.method_version <= METHOD_VERSION:
        raise DataError(
            f"the verdict was decided by method {verdict.method_version}; this release knows methods 1 to "
            f"{METHOD_VERSION}",
            code="verdict-too-new",
            hint="upgrade crossgrade to verify it",
        )
    today = recompute(verdict, evidence, guards)
    today = today if with_texts else verdict_without_texts(today)
    if verdict.method_version < METHOD_VERSION:
        differences = (
            *_wrong_method(verdict, today),
            *_lasting(verdict, today, evidence),
            *_unsupported(verdict),
            *wrong_round(verdict),
        )
        return Comparison(today=today, differences=differences)
    expected = replace(
        today,
        losses=_not_erased(verdict, today, evidence),
        package_version=verdict.package_version,
        valid_until=_until(verdict, today),
    )
    recorded, computed = (verdict_to_json(each) for each in (verdict, expected))
    for was, now in zip(recorded["costs"], computed["costs"], strict=False):
        if was.get("retention") is None and verdict.package_version is None:
            now["retention"] = None  # recorded before costs carried it
    if verdict.losses_drawn_from is None and verdict.package_version is None:
        for name in ("losses", "losses_drawn_from", "groups"):  # recorded before losses were drawn
            computed[name] = recorded[name]
    _leave_out_new(recorded, computed)
    for name in ("reasons", "would_change"):
        if any(each.code is None for each in getattr(verdict, name)):  # recorded before remarks had codes
            recorded[name] = [each.text for each in getattr(verdict, name)]
            computed[name] = list(sentences(getattr(expected, name)))
    skipped = frozenset[str]() if verdict.package_version == today.package_version else _WORDS
    found = _differences("", recorded, computed)
    compared = [each for each in found if skipped.isdisjoint(re.split(r"[.\[]", each[0]))]
    return Comparison(
        today=today,
        differences=(*(f"{place}: {what}" for place, what in compared), *wrong_round(verdict)),
        rounded=_rounded(recorded, computed),
    )


def _until(verdict: Verdict, today: Verdict) -> datetime:
    """Return when a recorded verdict should expire. Older ones that moved ended with the incumbent."""
    ends = {each.retires_on for each in verdict.settings.facts if each.model == verdict.incumbent}
    was_early = verdict.valid_until < today.valid_until and verdict.valid_until.date() in ends
    return verdict.valid_until if was_early else today.valid_until


def _leave_out_new(recorded: Any, computed: Any) -> None:
    """Take from a computed tree what was added since: codes of reasons, the judge alone, what may move."""
    if isinstance(recorded, dict) and isinstance(computed, dict):
        if recorded.get("reason") is not None and recorded.get("reason_code") is None:
            computed["reason_code"] = None
        for name in ("judged", "moved_share"):
            if name in computed and recorded.get(name) is None:
                computed[name] = None
        for key in recorded.keys() & computed.keys():
            _leave_out_new(recorded[key], computed[key])
    elif isinstance(recorded, list) and isinstance(computed, list):
        for one, other in zip(recorded, computed, strict=False):
            _leave_out_new(one, other)


def _wrong_method(verdict: Verdict, today: Verdict) -> Iterator[str]:
    """Yield that the verdict names a method that the release it names did not have."""
    if verdict.package_version == today.package_version:
        yield (
            f"method_version: recorded {verdict.method_version}, and release {today.package_version} "
            f"decides by method {today.method_version}"
        )


def _lasting(verdict: Verdict, today: Verdict, evidence: Evidence) -> Iterator[str]:
    """Yield where a verdict of an older method is not of this evidence and these settings."""
    recorded, computed = (verdict_to_json(each) for each in (verdict, today))
    for key in _LASTING:
        for place, difference in _differences(key, recorded[key], computed[key]):
            yield f"{place}: {difference}"
    latest = valid_until(verdict.settings, verdict.policy, verdict.decided_at)
    if verdict.valid_until > latest:
        yield f"valid_until: recorded {verdict.valid_until:%Y-%m-%d}, computed {latest:%Y-%m-%d}"
    both = (*verdict.certificates, *today.certificates)
    if any(one.excluded for one in both) or {verdict.mode, today.mode} != {"fixed"} or evidence.judge:
        return  # which pairs count depends on more than the evidence
    found = {(one.candidate, one.segment): one.retention for one in today.certificates}
    for one in verdict.certificates:
        now = found.get((one.candidate, one.segment))
        for key in ("n",) if evidence.weight is not None else ("n", "value"):
            was, is_now = getattr(one.retention, key), getattr(now, key, None)
            if not _same(was, is_now):
                where = f"certificate of {_named(one.candidate, one.segment)}"
                yield f"{where}: {key}: recorded {was!r}, computed {is_now!r}"


def _unsupported(verdict: Verdict) -> Iterator[str]:
    """Yield why no method could have given the verdict: its own certificates do not carry its policy."""
    policy, settings = verdict.policy, verdict.settings
    if policy.kind != _KINDS.get(verdict.name, "keep"):
        yield f"policy: {policy.kind!r} beside the verdict {verdict.name!r}"
    if policy.incumbent != verdict.incumbent:
        yield f"policy: its incumbent is {policy.incumbent!r}, the verdict's is {verdict.incumbent!r}"
    for one in verdict.certificates:
        if one.certified and not (
            one.tested
            and one.excluded is None
            and not one.shown_below
            and one.retention.outcome == "pass"
            and one.adjusted_p <= settings.alpha
        ):
            yield f"certificate of {_named(one.candidate, one.segment)}: certified, and its own test says no"
    if policy.kind == "keep":
        return
    certified = {(one.candidate, one.segment) for one in verdict.certificates if one.certified}
    moved: tuple[str | None, ...] = (None,) if policy.kind == "switch" else policy.segments
    for segment in moved:
        if (str(policy.candidate), segment) not in certified:
            yield f"policy: no certificate for {_named(str(policy.candidate), segment)}, which it moves"
    if policy.max_bytes != settings.max_bytes.get(str(policy.candidate)):
        yield f"policy: a limit of {policy.max_bytes} bytes, which is not the one in the settings"


def _named(candidate: str, segment: str | None) -> str:
    return f"{candidate} on {'the whole workload' if segment is None else segment}"


def _not_erased(verdict: Verdict, today: Verdict, evidence: Evidence) -> tuple[Loss, ...]:
    """Return the losses of today less those that were erased since: samples whose texts are gone."""
    models = (evidence.incumbent, *evidence.candidates)
    texts = [column for column in (evidence.input, *(model.output for model in models)) if column is not None]
    if not texts:
        return today.losses
    kept = {each.sample_id for each in verdict.losses}
    blank = {
        str(sample)
        for row, sample in enumerate(evidence.sample_ids)
        if all(column[row] is None for column in texts)
    }
    return tuple(each for each in today.losses if each.sample_id in kept or each.sample_id not in blank)


def _differences(place: str, recorded: Any, computed: Any) -> Iterator[tuple[str, str]]:
    """Iterate over the places where two JSON trees differ, each with how."""
    if isinstance(recorded, dict) and isinstance(computed, dict):
        for key in sorted(recorded.keys() | computed.keys()):
            yield from _differences(f"{place}.{key}" if place else key, recorded.get(key), computed.get(key))
    elif isinstance(recorded, list) and isinstance(computed, list) and len(recorded) == len(computed):
        for at, (one, other) in enumerate(zip(recorded, computed, strict=True)):
            yield from _differences(f"{place}[{at}]", one, other)
    elif not _same(recorded, computed):
        was, now = _shown(repr(recorded), repr(computed))
        yield place, f"recorded {was}, computed {now}"


def _rounded(recorded: Any, computed: Any) -> int:
    """Return how many numbers of two JSON trees that do not differ are not the same to the last bit."""
    if isinstance(recorded, dict) and isinstance(computed, dict):
        return sum(_rounded(recorded[key], computed[key]) for key in recorded.keys() & computed.keys())
    if isinstance(recorded, list) and isinstance(computed, list):
        return sum(map(_rounded, recorded, computed))
    return int(_are_numbers(recorded, computed) and recorded != computed and _same(recorded, computed))


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)


def _same(one: Any, other: Any) -> bool:
    if _are_numbers(one, other):
        return bool(abs(one - other) <= _REL * max(abs(one), abs(other), 1e-3))
    return bool(one == other)


def _shown(one: str, other: str) -> tuple[str, str]:
    """Return two texts that differ; of long ones the part around the first difference."""
    if max(len(one), len(other)) <= _LONGEST:
        return one, other
    shorter = min(len(one), len(other))
    first = next((at for at in range(shorter) if one[at] != other[at]), shorter)
    return _around(one, first), _around(other, first)


def _around(text: str, at: int) -> str:
    """Return a text, cut to what is around a place in it."""
    start = max(0, min(at - _LONGEST // 2, len(text) - _LONGEST))
    end = start + _LONGEST
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"
