"""The runner: samples asked, scored and counted, at each account's own pace, none paid for twice."""

from crossgrade.evaluate.runner._concurrency import CallLimiter, CallLimiters, Patience
from crossgrade.evaluate.runner._digests import run_settings
from crossgrade.evaluate.runner._estimate import CallEstimate, RunEstimate, estimate_run
from crossgrade.evaluate.runner._expected import ExpectedUse, expected_use
from crossgrade.evaluate.runner._flow import GRACE_S
from crossgrade.evaluate.runner._judges import Judges
from crossgrade.evaluate.runner._length import request_bytes, request_text
from crossgrade.evaluate.runner._logged import logged_response, request_digests
from crossgrade.evaluate.runner._pilot import replanned
from crossgrade.evaluate.runner._prepare import askable_samples, idle_samples, new_design, planned_samples
from crossgrade.evaluate.runner._progress import Progress
from crossgrade.evaluate.runner._run import Ending, RunResult, run_workload
from crossgrade.evaluate.runner._stopping import StoppingRule

__all__ = [
    "GRACE_S",
    "CallEstimate",
    "CallLimiter",
    "CallLimiters",
    "Ending",
    "ExpectedUse",
    "Judges",
    "Patience",
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
