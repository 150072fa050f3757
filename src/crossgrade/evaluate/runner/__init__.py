"""The runner asks, scores and counts samples at the pace of each account. No answer is paid for twice."""

from crossgrade.evaluate.runner._estimate import CallEstimate, RunEstimate, estimate_run
from crossgrade.evaluate.runner._expected import ExpectedUse, expected_use
from crossgrade.evaluate.runner._flow import GRACE_S
from crossgrade.evaluate.runner._judges import Judges
from crossgrade.evaluate.runner._pilot import replanned
from crossgrade.evaluate.runner._plan import Progress, StoppingRule
from crossgrade.evaluate.runner._prepare import (
    askable_samples,
    idle_samples,
    new_design,
    planned_samples,
    run_settings,
)
from crossgrade.evaluate.runner._prompt import logged_response, request_bytes, request_digests, request_text
from crossgrade.evaluate.runner._run import Ending, RunResult, run_workload

__all__ = [
    "GRACE_S",
    "CallEstimate",
    "Ending",
    "ExpectedUse",
    "Judges",
    "Progress",
    "RunEstimate",
    "RunResult",
    "StoppingRule",
    "askable_samples",
    "estimate_run",
    "expected_use",
    "idle_samples",
    "logged_response",
    "new_design",
    "planned_samples",
    "replanned",
    "request_bytes",
    "request_digests",
    "request_text",
    "run_settings",
    "run_workload",
]
