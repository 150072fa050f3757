"""How a guard states what it found, and how sure it must be to fail."""

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import ModelColumns
from crossgrade.decide._records import Guard, GuardStatus
from crossgrade.decide._view import View


def finding(
    name: str,
    seen: str,
    advice: str,
    *,
    fail: bool = False,
    warn: bool = False,
    segment: str | None = None,
    candidate: str | None = None,
) -> Guard:
    """Return a guard that fails, warns or (neither) passes; the advice is kept unless it passes."""
    status: GuardStatus = "fail" if fail else "warn" if warn else "pass"
    return Guard(
        name=name,
        status=status,
        seen=seen,
        advice="" if status == "pass" else advice,
        segment=segment,
        candidate=candidate,
    )


def look_alpha(view: View, *, parts: bool = False) -> float:
    """Return the error rate of one test of a guard: its own, divided by everything that it looks at.

    A guard looks at the whole for each candidate and, with `parts`, at every segment or group too.
    """
    looks = len(view.evidence.candidates) * (1 + (len(view.parts) if parts else 0))
    return limits.GUARD_ALPHA / looks


def about(view: View, model: ModelColumns) -> str | None:
    """Return the candidate that a finding is about; the incumbent's faults hold for every candidate."""
    return None if model is view.evidence.incumbent else model.model
