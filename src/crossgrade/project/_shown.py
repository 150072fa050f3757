"""A verdict for people at a prompt: short in a console, a table in a notebook, a report, a frame."""

from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from crossgrade.decide import Verdict
from crossgrade.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class ShownVerdict(Verdict):
    """A verdict that can show itself: in a notebook, as a report, as a frame."""

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        """Return a verdict as one that can show itself."""
        return cls(**{field.name: getattr(verdict, field.name) for field in fields(verdict)})

    def __eq__(self, other: object) -> bool:
        """Compare what verdicts say, whether or not they can show themselves."""
        if not isinstance(other, Verdict):
            return NotImplemented
        return all(getattr(self, field.name) == getattr(other, field.name) for field in fields(Verdict))

    __hash__ = Verdict.__hash__

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the sentence, the facts and the table of retention."""
        from crossgrade.report import render_cell

        return render_cell(self)

    def report(self, path: str | Path = "crossgrade-report.html") -> Path:
        """Write the verdict's report and return its path.

        The suffix of `path` picks the form: `.html`, `.md` (Markdown) or `.xml` (JUnit XML). Raises
        UsageError for another, MissingExtraError for HTML without the extra `report`, and StoreError if the
        file cannot be written.
        """
        from crossgrade.report import write_report

        return write_report([self], Path(path))

    def to_frame(self) -> Any:
        """Return one row for each candidate and part as a pandas frame, or as a polars frame without pandas.

        Raises UsageError if neither is installed.
        """
        from crossgrade.report import standing

        rows = [
            {
                "candidate": one.candidate,
                "segment": one.segment,
                "n": one.retention.n,
                "incumbent_mean": one.retention.incumbent_mean,
                "candidate_mean": one.retention.candidate_mean,
                "retention": one.retention.value,
                "low": one.retention.low,
                "high": one.retention.high,
                "adjusted_p": one.adjusted_p,
                "certified": one.certified,
                "result": standing(one),
            }
            for one in self.certificates
        ]
        for library in ("pandas", "polars"):
            try:
                return import_module(library).DataFrame(rows)
            except ModuleNotFoundError:
                continue
        raise UsageError(
            "`to_frame` makes a frame of pandas or polars, and neither is installed",
            code="frame-library-missing",
            hint="pip install pandas",
        )
