"""Field 7 of dossiers: safety rates with enough labels of people, and what was not tested."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING

from crossgrade.domain import SAFETY_NAMES, DossierFact, SafetySuite
from crossgrade.evidence import SafetyFacts
from crossgrade.store import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossgrade.decide import SafetyRate
    from crossgrade.project._safety import ModelSafety, ProjectSafety, SuiteSafety
    from crossgrade.stats import Proportion


def safety_facts(
    safety: "ProjectSafety", suites: Mapping[str, SafetySuite], workload: str, run_of: "Callable[[str], Run]"
) -> SafetyFacts:
    """Return the rates of a workload's models on all suites that are configured.

    Only rates as a decision takes them count: from 50 labels of people on, all of those that were drawn.
    """
    found = safety.show(workload, tuple(suites)) if suites else []
    known = [each for each in found if each.models]
    rated = [
        (suite, model) for suite in known for model in suite.models if model.final.rate.value is not None
    ]
    runs = list(dict.fromkeys(each.final.run_id for _, each in rated if each.final.run_id))
    days = [each.final.measured_on for _, each in rated if each.final.measured_on is not None]
    return SafetyFacts(
        facts=tuple(fact for suite, model in rated for fact in _facts(suite, model, run_of)),
        gaps=tuple(_gaps(known, rated)),
        evidence_id=", ".join(f"run {each}" for each in runs) or None,
        digest=run_of(runs[0]).dataset_digest if len(runs) == 1 else None,
        at=datetime.combine(max(days), time(), UTC) if days else None,
    )


def _facts(
    suite: "SuiteSafety", model: "ModelSafety", run_of: "Callable[[str], Run]"
) -> Iterator[DossierFact]:
    found, rate = model.final, model.final.rate
    name = f"{suite.suite.name} ({SAFETY_NAMES[suite.suite.measures]})"
    yield DossierFact(
        label=name, text=found.words, model=model.model, value=rate.value, low=rate.low, high=rate.high
    )
    errors = f"flags {_share(rate.sensitivity)} events and clears {_share(rate.specificity)} others"
    text = f"{found.grader}; on the labelled answers it {errors}"
    yield DossierFact(label=f"{suite.suite.name}: grader", text=text, model=model.model)
    raters = ", ".join(
        f"{each.name} ({each.labelled:,} label{'s' * (each.labelled != 1)})" for each in model.raters
    )
    yield DossierFact(label=f"{suite.suite.name}: labelled by", text=raters, model=model.model)
    if found.run_id is not None:
        digest = run_of(found.run_id).dataset_digest
        text = f"{_prompts(suite, model)}, digest {digest}"
        yield DossierFact(label=f"{suite.suite.name}: prompts", text=text, model=model.model)
    gap = found.difference
    if gap is not None and gap.value is not None and gap.low is not None and gap.high is not None:
        text = f"{100 * gap.value:+.1f} points ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})"
        label = f"{suite.suite.name}: less the incumbent's rate"
        yield DossierFact(label=label, text=text, model=model.model)


def _prompts(suite: "SuiteSafety", model: "ModelSafety") -> str:
    """Return where the prompts come from, and their licence: an imported report has others than the suite."""
    if model.report is not None:
        return f"those of the report {model.report}"
    own = suite.suite.path.name if suite.suite.path else suite.suite.name
    return f"{suite.suite.shipped or own}, licence {suite.suite.licence}"


def _gaps(
    known: "Sequence[SuiteSafety]", rated: "Sequence[tuple[SuiteSafety, ModelSafety]]"
) -> Iterator[str]:
    has_rate = {(suite.name, model.model) for suite, model in rated}
    for suite in known:
        for model in suite.models:
            if (suite.name, model.model) not in has_rate:
                yield f"{suite.name}: no rate of {model.model}, {_wanted(model.so_far)}"
            elif model.report is not None:
                cut = " may have been cut off, and" if model.is_part else ""
                yield (
                    f"{suite.name}: the report {model.report} on {model.model}{cut} does not say the licence "
                    "of its prompts"
                )
        yield from _hasty(suite, [model for model in suite.models if (suite.name, model.model) in has_rate])
        for name in suite.not_asked:
            yield f"{suite.name}: {name} was not asked"
    tested = {suite.suite.measures for suite, _ in rated}
    untested = [name for each, name in SAFETY_NAMES.items() if each not in tested]
    if untested:
        yield f"not tested, or without a rate: {', '.join(untested)}"
    if rated:
        yield "hazards and languages that the prompts do not have were not tested"


def _hasty(suite: "SuiteSafety", rated: "Sequence[ModelSafety]") -> Iterator[str]:
    """Yield once which raters behind a suite's rates labelled too fast to have read the texts."""
    for each in dict.fromkeys(rater for model in rated for rater in model.raters):
        if each.warning is not None:
            yield f"{suite.name}: nothing shows that {each.name} read what was labelled, since {each.warning}"


def _wanted(found: "SafetyRate") -> str:
    """Return what is missing for a rate: prompts, labels, or the rest of the drawn labels."""
    from crossgrade.stats import LEAST_RATE_LABELS

    rate = found.rate
    if rate.has_too_few_answers:
        return f"{rate.n:,} answers are too few, since it takes {LEAST_RATE_LABELS} labels: ask more prompts"
    if rate.labels_missing:
        return f"it takes {found.missing} of people"
    return "drawn labels are missing"


def _share(found: "Proportion") -> str:
    return "none" if found.value is None else f"{found.value:.0%} of {found.n}"
