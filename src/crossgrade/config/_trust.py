"""From the sections `safety` and `dossier` to suites of prompts, and to what dossiers state.

Names are resolved, and files are inside the project's folder.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossgrade.config._dossier_schema import DossierSection, StatementSection
from crossgrade.config._problems import SectionResolver, shown
from crossgrade.config._safety_schema import SafetySection, SuiteSection
from crossgrade.config._section import is_name, values
from crossgrade.domain import (
    SHIPPED_PROMPTS,
    DossierSpec,
    NotApplicable,
    Offer,
    SafetyLimit,
    SafetyMeasure,
    SafetySuite,
    ScorerSpec,
    Statement,
    Workload,
)
from crossgrade.errors import closest, hint_among

_EVENT: Mapping[SafetyMeasure, str] = {"harmful_compliance": "answered", "over_refusal": "refused"}
"""The option `event` of the scorer `refusal`, for what it can measure."""


@dataclass(slots=True)
class SafetyResolver(SectionResolver):
    """Resolves safety suites, adding to `problems`; `path` resolves a path inside the project's folder."""

    path: Callable[[str, str], Path]
    section: SafetySection

    def suites(self, workloads: Collection[str]) -> dict[str, SafetySuite]:
        """Return the suites by name, without those that say too little; `workloads` are the names taken."""
        for name in self.section.suites:
            self._check_name(name, workloads)
        found = {name: self._suite(name, section) for name, section in self.section.suites.items()}
        return {name: suite for name, suite in found.items() if suite is not None}

    def required(
        self, where: str, names: Iterable[str], suites: Mapping[str, SafetySuite]
    ) -> tuple[SafetyLimit, ...]:
        """Return what a workload demands on the suites that it names."""
        wanted = tuple(dict.fromkeys(names))
        for index, name in enumerate(wanted):
            if name not in self.section.suites:
                self._refuse(
                    f"{where}.{index}",
                    f"no suite {shown(name)} under `safety.suites`",
                    hint_among(name, self.section.suites) or "add it under `safety.suites`",
                    code="safety-suite-undefined",
                )
        return tuple(suites[name].required for name in wanted if name in suites)

    def _check_name(self, suite: str, workloads: Collection[str]) -> None:
        """Refuse a suite whose runs would have the name of something else, or none that is a name."""
        others = [
            f"{workload}.{other}" for workload in workloads for other in self.section.suites if other != suite
        ]
        for derived in (f"{workload}.{suite}" for workload in workloads):
            is_taken = derived in workloads or derived in others
            if is_taken or not is_name(derived):
                why = "which is taken" if is_taken else "which is too long"
                self._refuse(
                    f"safety.suites.{suite}",
                    f"the runs of this suite would be named {shown(derived)}, {why}",
                    "give the suite another name",
                    code="safety-suite-name",
                )

    def _suite(self, name: str, section: SuiteSection) -> SafetySuite | None:
        where, prompts = f"safety.suites.{name}", section.prompts
        shipped = SHIPPED_PROMPTS.get(prompts)
        measures = section.measures or (shipped[0] if shipped else None)
        licence = section.licence or (shipped[1] if shipped else None)
        if shipped is not None and (measures, licence) != shipped:
            message = f"{shown(prompts)} measures {shipped[0]} under {shipped[1]}"
            hint = "leave out `measures` and `licence`, or name a file of your own"
            self._refuse(where, message, hint, code="safety-suite-stated")
        if measures is None:
            message = f"nothing says what {shown(prompts)} measures{closest(prompts, SHIPPED_PROMPTS)}"
            hint = "set `measures`, for instance to `harmful_compliance`"
            self._refuse(where, message, hint, code="safety-measure-missing")
        if licence is None:
            message = f"the prompts of {shown(prompts)} have no `licence`"
            hint = "state the licence under which you use them, for instance `licence: CC-BY-4.0`"
            self._refuse(where, message, hint, code="safety-licence-missing")
        path = None if shipped else self.path(f"{where}.prompts", prompts)
        if measures is None or licence is None:
            return None
        return SafetySuite(
            name=name,
            measures=measures,
            grader=self._grader(f"{where}.grader", measures, section),
            licence=licence,
            shipped=prompts if shipped else None,
            path=path,
            planned=section.planned,
            max_output_tokens=section.max_output_tokens,
            limit=section.limit,
            no_worse_by=section.no_worse_by,
        )

    def _grader(self, where: str, measures: SafetyMeasure, section: SuiteSection) -> ScorerSpec:
        """Return the grader of a suite, which says 1 for an event and 0 for none."""
        event = _EVENT.get(measures)
        if section.grader is None:
            default = "includes" if event is None else "refusal"
            options: dict[str, Any] = {} if event is None else {"event": event}
            return ScorerSpec(kind=default, options=options, zero="no event")
        kind, options = section.grader.kind, dict(section.grader.options)
        hint = None
        if kind == "refusal" and (event is None or options.setdefault("event", event) != event):
            hint = f"leave out `event`: it is `{event}`" if event else "grade with `includes` or `judge`"
        elif kind == "judge" and options.get("scale") != "pass_fail":
            hint = "set `scale: pass_fail`, with criteria that an answer meets if the event happened"
        elif kind == "pairwise":
            hint = "use a scorer of single answers"
        if hint is not None:
            message = f"this grader does not say whether an answer counts for {measures}"
            self._refuse(where, message, hint, code="safety-grader-unfit")
        return ScorerSpec(kind=kind, options=options, zero="no event")


@dataclass(slots=True)
class DossierResolver(SectionResolver):
    """Resolves statements against models and workloads, adding to `problems`; `path` as for suites."""

    path: Callable[[str, str], Path]
    offers: Mapping[str, Offer]
    workloads: Mapping[str, Workload]

    def spec(self, section: DossierSection) -> DossierSpec:
        """Return what the section states."""
        return DossierSpec(
            statements=tuple(self._statement(at, each) for at, each in enumerate(section.statements)),
            not_applicable=tuple(NotApplicable(**values(each)) for each in section.not_applicable),
            valid_days=section.valid_days,
            required=tuple(dict.fromkeys(section.required)),
        )

    def _statement(self, at: int, section: StatementSection) -> Statement:
        where = f"dossier.statements.{at}"
        fields = values(section)
        known = {"model": self.offers, "workload": self.workloads}
        for kind, names in known.items():
            name = fields[kind]
            if name is not None and name not in names:
                message = f"no {kind} {shown(name)} under `{kind}s`"
                self._refuse(f"{where}.{kind}", message, hint_among(name, names), code=f"{kind}-undefined")
        if section.date > datetime.now(UTC).date():
            message = f"{section.date} is in the future"
            self._refuse(f"{where}.date", message, "give the day on which it was stated", code="date-future")
        if section.sha256 is not None and section.file is None:
            message = "`sha256` is the digest of a file, and there is none"
            self._refuse(f"{where}.sha256", message, "name the `file`, or remove it", code="digest-alone")
        file: Path | None = None
        if section.file is not None:
            file = self.path(f"{where}.file", section.file)
        return Statement(**{**fields, "file": file})
