"""How a guard states what it found."""

from crossgrade.decide._records import Guard, GuardStatus


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
