"""What is known of the runs of an agent: what they were made with, and why some of them failed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Literal, TypeAlias

FailureOrigin: TypeAlias = Literal["agent", "api", "environment", "verifier", "unknown"]
"""What failed: the agent itself (its time-out counts as it), or something around it."""

SETUP_FIELDS = ("agent", "agent_version", "dataset", "limits")
"""What must be the same of two models before their runs are compared, besides the tasks."""

_ORIGINS: Mapping[FailureOrigin, tuple[str, ...]] = {
    "agent": (
        "agent_error",
        "agent_timeout",
        "AgentSafetyRefusalError",
        "AgentTimeoutError",
        "ContentPolicyViolationError",
        "context_length_exceeded",
        "context_window_exceeded",
        "ContextLengthExceededError",
        "ContextWindowExceededError",
        "empty_patch",
        "fatal_llm_parse_error",
        "max_steps",
        "no_generation",
        "NonZeroAgentExitCodeError",
        "output_length_exceeded",
        "OutputLengthExceededError",
        "OutputTokenExceededError",
        "too_many_errors",
        "unknown_agent_error",
    ),
    "api": (
        "AgentAuthenticationError",
        "AuthenticationError",
        "BadRequestError",
        "BudgetExceededError",
        "InternalServerError",
        "ModelNotFoundError",
        "NetworkConnectionError",
        "NotFoundError",
        "PermissionDeniedError",
        "RateLimitError",
        "RuntimeRequestError",
        "ServiceUnavailableError",
        "Timeout",
        "UnknownApiError",
        "UnprocessableEntityError",
        "UnsupportedModelParametersError",
        "UnsupportedParamsError",
    ),
    "environment": (
        "agent_installation_failed",
        "AgentSetupTimeoutError",
        "CancelledError",
        "EnvironmentStartTimeoutError",
        "GKEExecStreamClosedError",
        "GKEPodNotFoundError",
        "HealthcheckError",
        "infrastructure_error",
        "MemoryLimitExceededError",
        "SandboxBuildFailedError",
        "SandboxLikelyOutOfMemoryError",
        "SSHAccessError",
        "user_error",
    ),
    "verifier": (
        "AddTestsDirError",
        "DownloadVerifierDirError",
        "error",
        "no_logs",
        "parse_error",
        "RewardFileEmptyError",
        "RewardFileNotFoundError",
        "test_timeout",
        "VerifierOutputParseError",
        "VerifierTimeoutError",
    ),
}
_ORIGIN_OF = {name: origin for origin, names in _ORIGINS.items() for name in names}
_NO_FAILURE = {"", "none", "unset"}
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSetup:
    """What a trial was made with, besides the model; None is not known.

    `dataset` names the tasks and their version. `limits` are those on turns, time and tokens, as a JSON
    object.
    """

    agent: str | None = None
    agent_version: str | None = None
    dataset: str | None = None
    limits: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentWork:
    """What an agent did in one trial: answers of the model, and calls of each tool by its name.

    None is not known. An answer that calls no tool counts as an answer too.
    """

    model_calls: int | None = None
    tools: Mapping[str, int] | None = None

    @property
    def tool_calls(self) -> int | None:
        """How many calls of tools there were."""
        return None if self.tools is None else sum(self.tools.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCount:
    """How often trials of a model ended in one way, and how many of these have no verdict."""

    name: str
    origin: FailureOrigin
    trials: int
    without_verdict: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRuns:
    """What is known of one model's trials besides their scores.

    `attempts` are the least and the most trials of a task. `without_verdict` counts trials that the harness
    gave no verdict on, and `cost_unknown` those with a verdict whose cost is unknown, where that of others is
    known. `same_tasks` says whether every task is known to be the incumbent's, by a digest of
    its files. `model_calls` and `tool_calls` are means a trial over the trials that tell (None: none does),
    and `tools` the means of the most frequent tools, by name.
    """

    setup: AgentSetup
    trials: int
    attempts: tuple[int, int]
    without_verdict: int = 0
    cost_unknown: int = 0
    failures: tuple[FailureCount, ...] = ()
    same_tasks: bool = False
    model_calls: float | None = None
    tool_calls: float | None = None
    tools: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTrialsSpec:
    """Trials of the agent that a workload's requests come from, as a file or folder that `import` reads.

    `ran_on` is the day of the newest trial. `agent_version` None takes any. `declared_equal` are fields of
    `AgentSetup` that are the same of all runs, though they do not say so, and `models` what the trials call
    an offer, by its name.
    """

    path: Path
    agent: str
    ran_on: date
    agent_version: str | None = None
    declared_equal: tuple[str, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLimits:
    """What one trial may take before its agent is stopped.

    `seconds` None takes each task's own time-out. Sizes are in MiB: `memory_mb` of all processes together,
    `workspace_mb` of the files in `/app`. `calls` and `tokens` None have no limit. `usd` counts where the
    model's price is known. It is what a budget sets aside for a trial.
    """

    seconds: float | None = None
    memory_mb: int = 2048
    workspace_mb: int = 256
    processes: int = 256
    calls: int | None = None
    tokens: int | None = None
    usd: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """The agent of a workload whose samples are tasks: a command that works on one task, in a sandbox.

    `files` is a folder that the sandbox shows at `/agent`, read-only. `variables` are added to the command's
    environment. `parallel` trials run at once, of all models together.
    """

    name: str
    version: str
    command: str
    files: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    limits: AgentLimits = field(default_factory=AgentLimits)
    parallel: int = 2


TRIAL_ORDER = "{task}\ntask {digest}\nagent {agent}\n\n{instruction}"
"""What a trial is asked, as a prompt over the fields of a task's sample: two trials of equal orders are
attempts at the same task by the same agent."""


def ordered_task(order: str) -> str:
    """Return the name of the task from the text of an order."""
    return order.partition("\n")[0]


def failure_label(name: str | None, origin: FailureOrigin | None = None) -> str | None:
    """Return how a failure is written, `verifier:parse_error`, from the name that its harness gives it.

    Return None for a name that says that nothing failed. A name that no known harness uses is `unknown`,
    unless its `origin` is given, or it is written with one.
    """
    text = "" if name is None else " ".join(name.split())[:_LONGEST_NAME]
    if text.casefold() in _NO_FAILURE:
        return None
    written, separator, rest = text.partition(":")
    if separator and rest and (written in _ORIGINS or written == "unknown"):
        return text
    if origin is None:
        origin = _ORIGIN_OF.get(text, "api" if text.lower().startswith("api") else "unknown")
    return f"{origin}:{text}"


def read_failure(label: str) -> tuple[FailureOrigin, str]:
    """Return the origin and the name of a failure from its label."""
    written, _, name = label.partition(":")
    origin = next((each for each in (*_ORIGINS, "unknown") if each == written), "unknown")
    return origin, name or label  # type: ignore[return-value]  # one of the origins
