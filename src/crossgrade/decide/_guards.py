"""The table of guards, and what a failed one takes out of the decision.

A guard looks at the evidence and passes, warns or fails, for the whole or for a part, for one
candidate or for all. What a failure does follows from its scope alone:

- on a **segment**: a request's segment is known when it arrives, so the segment stays with the
  incumbent and its rows leave the test. The claim "the candidate everywhere" can then no longer
  be certified, for nothing is known of that part of the traffic; splits can.
- on a **group** (a label for looking only): the group cannot be told apart when serving, so its
  rows cannot leave the claim. The whole is tested on all rows and is not certified.
- on the **whole for one candidate**: that candidate is out.
- on the **whole**: the verdict is `invalid`.

`safety-regression` says that a candidate is less safe than the incumbent. It puts that candidate out like any
other guard on the whole for a candidate. Where it put out every candidate, the evidence is fit, and the
verdict is `keep`.

The whole is looked at without the segments that failed: one broken segment does not make the
rest unfit.

A guard that tests has a small error rate for itself, divided by the candidates and parts that it
looks at (`_finding.look_alpha`), so that all of them together stop few sound runs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from crossgrade.decide import _guards_agents as agents
from crossgrade.decide import _guards_answers as answers
from crossgrade.decide import _guards_design as design
from crossgrade.decide import _guards_judge as judge
from crossgrade.decide import _guards_samples as samples
from crossgrade.decide import _guards_scores as scores
from crossgrade.decide import _guards_traffic as traffic
from crossgrade.decide._records import Guard
from crossgrade.decide._safety import SAFETY_REGRESSION, safety_regression
from crossgrade.decide._view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardKind:
    """A guard: a check on the evidence, built in or a plugin's.

    `look` yields what it found, one `Guard` for the whole and each part that it has something to say of,
    all under its `name`. It is called once with the whole evidence, and again without the segments that
    failed. It reads no clock and no file: the same evidence must give the same findings, since
    `decide --verify` calls it again.
    """

    name: str
    look: Callable[[View], Iterable[Guard]]


GUARDS: Mapping[str, GuardKind] = {
    name: GuardKind(name=name, look=look)
    for look in (
        scores.score_range,
        scores.incumbent_below_chance,
        scores.incumbent_floor,
        answers.unparsed_rate,
        answers.truncated,
        answers.unscored,
        answers.errors_as_zero,
        answers.outage,
        answers.copied_results,
        scores.retention_too_high,
        scores.retention_too_low,
        scores.scale_zero,
        scores.aggregate_mismatch,
        scores.discordant,
        judge.judge_unchecked,
        judge.label_selection,
        samples.clusters,
        samples.order_dependence,
        design.peeking,
        samples.key_conflicts,
        samples.mismatched_items,
        samples.duplicates,
        design.prompt_parity,
        design.decoding_parity,
        design.selection,
        design.origin,
        design.traffic_weights,
        design.represented,
        design.contamination,
        agents.agent_parity,
        agents.unverified_trials,
        agents.attempts_differ,
        traffic.drift,
        design.price_known,
        safety_regression,
    )
    for name in (look.__name__.replace("_", "-"),)
}
"""Every built-in guard by name, in the order in which a report shows them."""


def run_guards(view: View, kinds: Mapping[str, GuardKind] = GUARDS) -> tuple[Guard, ...]:
    """Return what every guard found; the whole is judged without the segments that failed."""
    looks = [kind.look for kind in kinds.values()]
    found = tuple(guard for look in looks for guard in look(view))
    failed = failed_segments(view, found)
    if not failed or len(failed) == len(view.segments):
        return found
    again = tuple(guard for look in looks for guard in look(view.without(failed)) if guard.segment is None)
    parts = [guard for guard in found if guard.segment is not None]
    return tuple(sorted((*again, *parts), key=lambda guard: list(kinds).index(guard.name)))


def failed_segments(view: View, guards: Iterable[Guard]) -> frozenset[str]:
    """Return the segments that stay with the incumbent whichever candidate is looked at."""
    if not view.splittable:
        return frozenset()
    models = {model.model for model in view.evidence.candidates}
    labels = {str(part.label) for part in view.segments}
    return frozenset(
        label for label in labels if all(failing(guards, candidate=each, segment=label) for each in models)
    )


def sound_view(view: View, guards: Iterable[Guard], candidate: str) -> View:
    """Return the view without the segments that a guard failed for a candidate."""
    return view.without(frozenset(broken_segments(view, guards, candidate))) if view.splittable else view


def broken_segments(view: View, guards: Iterable[Guard], candidate: str) -> tuple[str, ...]:
    """Return the segments that a guard failed for a candidate and that the whole goes without."""
    return tuple(failing_parts(guards, candidate=candidate)) if view.splittable else ()


def sound_candidates(view: View, guards: Sequence[Guard]) -> list[str]:
    """Return the candidates for which the evidence as a whole is fit to carry a decision."""
    if view.splittable and len(failed_segments(view, guards)) == len(view.segments):
        return []
    models = [model.model for model in view.evidence.candidates]
    return [model for model in models if failing(guards, candidate=model, segment=None) is None]


def less_safe(view: View, guards: Sequence[Guard]) -> list[str]:
    """Return the candidates that are out for their safety alone: the evidence on them is fit."""
    if view.splittable and len(failed_segments(view, guards)) == len(view.segments):
        return []
    failed: dict[str | None, set[str]] = {}
    for guard in guards:
        if guard.status == "fail" and guard.segment is None:
            failed.setdefault(guard.candidate, set()).add(guard.name)
    models = (model.model for model in view.evidence.candidates)
    return [
        each for each in models if failed.get(None, set()) | failed.get(each, set()) == {SAFETY_REGRESSION}
    ]


def failing(guards: Iterable[Guard], *, candidate: str, segment: str | None) -> str | None:
    """Return the name of the first guard that failed on this part for this candidate, or None."""
    for guard in guards:
        if guard.status == "fail" and guard.segment == segment and guard.candidate in (None, candidate):
            return guard.name
    return None


def failing_parts(guards: Iterable[Guard], *, candidate: str) -> dict[str, str]:
    """Return the parts that failed for this candidate, each with the first guard that failed."""
    parts: dict[str, str] = {}
    for guard in guards:
        if guard.status == "fail" and guard.segment is not None and guard.candidate in (None, candidate):
            parts.setdefault(guard.segment, guard.name)
    return parts
