"""Guards on the design: prompts, settings, when the test is read, prices and weights."""

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._guard_tests import finding
from crossgrade.decide._records import Guard
from crossgrade.decide._view import View
from crossgrade.decide._words import count, listed, percent
from crossgrade.domain import Origin


def prompt_parity(view: View) -> Iterator[Guard]:
    """Two prompts for one question compare the prompts: a PASS of 1.19 on MMLU-Pro mathematics was one."""
    incumbent = view.evidence.incumbent
    for candidate in view.evidence.candidates:
        ours, theirs = incumbent.prompt_digests, candidate.prompt_digests
        if ours is None or theirs is None:
            yield finding("prompt-parity", "prompts are not recorded", "", candidate=candidate.model)
            continue
        pairs = zip(ours, theirs, strict=True)
        differ = sum(a is not None and b is not None and a != b for a, b in pairs)
        yield finding(
            "prompt-parity",
            f"the incumbent and {candidate.model} got different prompts on {count(differ, 'sample')}"
            + (", as declared" if differ and view.settings.parity_declared else ""),
            "read the verdict as one on the models with their prompts"
            if view.settings.parity_declared
            else "give both models the same prompt, or declare that the difference is meant",
            fail=differ > 0 and not view.settings.parity_declared,
            warn=differ > 0,
            candidate=candidate.model,
        )


def decoding_parity(view: View) -> Iterator[Guard]:
    """Rows of one model under several settings are several models."""
    incumbent, declared = view.evidence.incumbent, view.settings.parity_declared
    for model in (incumbent, *view.evidence.candidates):
        kinds = len(model.settings_digests)
        if kinds > 1:
            yield finding(
                "decoding-parity",
                f"{model.model}'s answers come from {kinds} different settings",
                "keep one variant's rows, or name the variants as different models",
                fail=True,
                candidate=None if model is incumbent else model.model,
            )
    for model in view.evidence.candidates:
        known = bool(incumbent.settings_digests and model.settings_digests)
        differ = known and set(incumbent.settings_digests) != set(model.settings_digests)
        yield finding(
            "decoding-parity",
            (
                "settings or templates differ"
                + _differing(incumbent.settings_digests, model.settings_digests)
                if differ
                else "same settings"
                if known
                else "settings not recorded"
            )
            + f" between the incumbent and {model.model}"
            + (", as declared" if differ and declared else ""),
            "use the same settings for both, or declare that the difference is meant",
            warn=differ and not declared,
            candidate=model.model,
        )


def _differing(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Return which settings differ and how, where each model's settings are one JSON object."""
    if len(ours) != 1 or len(theirs) != 1 or not ours[0].startswith("{") or not theirs[0].startswith("{"):
        return ""
    try:
        first, second = json.loads(ours[0]), json.loads(theirs[0])
    except (ValueError, RecursionError):  # a table may hold anything
        return ""
    names = [name for name in sorted({*first, *second}) if first.get(name) != second.get(name)]
    said = [f"{name[:60]} {_setting(first, name)} against {_setting(second, name)}" for name in names[:10]]
    return f" ({listed(tuple(said))})"


def _setting(settings: Mapping[str, object], name: str) -> str:
    return json.dumps(settings[name], ensure_ascii=False)[:80] if name in settings else "not set"


def peeking(view: View) -> Iterator[Guard]:
    """A fixed test is read once, at the end: a look every ten samples passes wrongly 30 % of the time."""
    planned, changed = view.evidence.planned or 0, view.settings.changed_since_run
    asked = min(
        int(view.reached(model).sum()) for model in (view.evidence.incumbent, *view.evidence.candidates)
    )
    short = asked < planned
    seen = f"{asked:,} of {count(planned, 'planned sample')} are in" if planned else count(asked, "sample")
    seen += f", design {view.mode}"
    if changed:
        seen += f"; the run was made under {listed(changed)}"
    yield finding(
        "peeking",
        seen,
        "finish the run before a fixed test is read, or run with mode `sequential`"
        if view.order is None
        else "evaluate again under the settings that you decide by: paid answers are reused",
        fail=view.order is None and short,
        warn=bool(changed),
    )


def selection(view: View) -> Iterator[Guard]:
    """The best of several candidates or segments looks better than it is; alpha is spent once over all."""
    k, parts, draws = len(view.evidence.candidates), len(view.segments), view.settings.draws
    others = view.settings.workloads - 1
    hypotheses = k * (parts if parts and view.settings.splits_only else 1 + parts)
    hypotheses += len(view.settings.siblings)
    seen = "one candidate, one hypothesis"
    if hypotheses > 1:
        shared = f", with {count(others, 'other workload')}" if others else ""
        seen = (
            f"{count(k, 'candidate')} and {count(parts, 'segment')}{shared}: {hypotheses} hypotheses, "
            f"corrected by Holm at {view.settings.alpha:g} over all of them"
        )
    if draws > 1:
        seen += f"; this dataset was run in {draws} different draws, of which this is one"
    yield finding(
        "selection",
        seen,
        "keep one seed and one plan: the best of several draws errs more often than each",
        warn=draws > 1,
    )


def origin(view: View) -> Iterator[Guard]:
    """A vendor's figure may plan a run, never certify a policy."""
    for model in (view.evidence.incumbent, *view.evidence.candidates):
        yield finding(
            "origin",
            f"{model.model}'s scores are {model.origin.value}",
            "score both models yourself, or use an independent source",
            fail=model.origin is Origin.VENDOR,
            candidate=None if model is view.evidence.incumbent else model.model,
        )


def contamination(view: View) -> Iterator[Guard]:
    """A candidate that was trained after the samples became public may know them, and the incumbent not.

    It says nothing of samples that are not public.
    """
    since = view.settings.public_since
    if since is None:
        return
    trained = {each.model: each.trained_until for each in view.settings.facts}
    for model in (each.model for each in view.evidence.candidates):
        until = trained.get(model)
        known = f"was trained until {until}" if until else "was trained until a day that is not known"
        yield finding(
            "contamination",
            f"the samples are public since {since}, and {model} {known}",
            "use samples of your own traffic; where the day is known, state it as `trained_until` of the "
            "model",
            warn=until is None or until >= since,
            candidate=model,
        )


def price_known(view: View) -> Iterator[Guard]:
    """A certificate without a price is no reason to switch."""
    for model in (view.evidence.incumbent, *view.evidence.candidates):
        asked = view.asked(model)
        missing = int((asked & ~np.isfinite(model.cost_usd)).sum())
        n = int(asked.sum())
        stated = view.settings.stated_cost_usd.get(model.model)
        known = "none" if missing == n else f"{n - missing:,}"
        seen = f"the cost of {known} of {model.model}'s {count(n, 'answer')} is known"
        unknown = missing > limits.UNKNOWN_COST * n
        if unknown and stated is not None:
            seen = f"{model.model} is stated to cost ${stated:g} a request"
        yield finding(
            "price-known",
            seen,
            "give a price in crossgrade.yaml, a `cost_usd` column, or `--cost MODEL=USD`",
            warn=unknown and stated is None,
            candidate=None if model is view.evidence.incumbent else model.model,
        )


def traffic_weights(view: View) -> Iterator[Guard]:
    """The whole is the traffic's mix, not the dataset's."""
    weight = view.evidence.weight
    if weight is None:
        yield finding("traffic-weights", "every sample stands for the same share of traffic", "")
        return
    usable = view.weight is not None
    effective = float(weight.sum() ** 2 / (weight**2).sum()) if usable else 0.0
    n = len(weight)
    yield finding(
        "traffic-weights",
        f"weighted by traffic: {count(n, 'sample')} are worth {effective:,.0f}"
        if usable
        else "weights are missing, negative, all zero or too large to be true",
        "draw samples from the traffic itself, so that few of them need a large weight",
        fail=not usable,
        warn=effective < limits.EFFECTIVE_SHARE * n,
    )


def represented(view: View) -> Iterator[Guard]:
    """Samples speak of requests like themselves: what was never drawn, as agents' tool loops, stays."""
    logged = view.settings.logged_traffic
    if logged is None or logged.shown_share is None:
        return  # unknown: results of elsewhere, and workloads of before it was recorded
    causes = sorted(logged.left_out.items(), key=lambda each: -each[1])
    why = ", ".join(f"{cause} {percent(share)}" for cause, share in causes)
    yield finding(
        "represented",
        f"the samples stand for {percent(logged.shown_share)} of the workload's requests in the log"
        + (f"; left out: {why}" if why else ""),
        "read retention, volume and saving as those of this part; the rest stays with the incumbent",
        warn=logged.is_partial,
    )
