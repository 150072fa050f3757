"""The sections of a workload about agents: the one that works on its tasks, and trials that ran elsewhere."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from crossgrade.config._section import Name, Section, Text, Variable


class AgentTrialsSection(Section):
    """Runs of the agent behind the workload's requests, which `requirements.evidence: agentic` asks for."""

    path: Text = Field(
        description="File or folder that `crossgrade import` reads: a table that it wrote, or a job of a "
        "harness. It must have runs of the incumbent and of the candidates on the same tasks."
    )
    agent: Text = Field(
        description="The agent that you use, as the runs name it. Runs of others do not count."
    )
    agent_version: Text | None = Field(
        default=None, description="Its version. Null takes any, if it is the same of all models."
    )
    ran_on: date = Field(description="Day of the newest run. From then on the runs count for `valid_days`.")
    declared_equal: list[Literal["agent_version", "dataset", "limits"]] = Field(
        default=[], description="What is the same of all runs, though they do not record it."
    )
    models: dict[Name, Text] = Field(
        default={}, description="What the runs call an offer, by its name in `models`, where it differs."
    )
    columns: dict[Text, Text] = Field(
        default={}, description="Column of a table that is a field, such as `epoch: attempt`."
    )


class AgentLimitsSection(Section):
    """What one trial may take. An agent that needs more is stopped, and what it left is tested."""

    seconds: Annotated[float, Field(gt=0, le=86_400)] | None = Field(
        default=None, description="Seconds of an agent. Default: each task's own `agent.timeout_sec`."
    )
    memory_mb: Annotated[int, Field(ge=64, le=1 << 20)] = Field(
        default=2048, description="Memory of all its processes together, in MiB."
    )
    workspace_mb: Annotated[int, Field(ge=1, le=1 << 16)] = Field(
        default=256, description="Size of the files in `/app`, in MiB. They are kept in memory."
    )
    processes: Annotated[int, Field(ge=8, le=10_000)] = Field(
        default=256, description="Number of processes at once, with 16 times as many threads."
    )
    calls: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="Calls of the model. Further ones are refused. Null means no limit."
    )
    tokens: Annotated[int, Field(ge=1, le=10**12)] | None = Field(
        default=None,
        description="Input and output tokens of all calls, after which further ones are refused. Null means "
        "no limit.",
    )
    usd: Annotated[Decimal, Field(gt=0, max_digits=20)] = Field(
        default=Decimal(1),
        description="Dollars of all calls, after which further ones are refused. With `--max-cost`, a run "
        "sets as much aside for each trial.",
    )


class AgentSection(Section):
    """The agent of a workload of `kind: agent`: a command that works on one task at a time, in a sandbox."""

    name: Name = Field(description="Name of the agent. Only runs of the same agent are compared.")
    version: Text = Field(description="Its version. Raise it when the agent changes.")
    command: Text = Field(
        description="Command that works on the task in `/app`, run by `/bin/sh`. The variables "
        "`OPENAI_BASE_URL`, `OPENAI_API_KEY`, `CROSSGRADE_MODEL` and `CROSSGRADE_INSTRUCTION` say what it "
        "needs."
    )
    files: Text | None = Field(
        default=None,
        description="Folder with the agent's files, which the sandbox shows at `/agent`, read-only.",
    )
    variables: dict[Variable, str] = Field(
        default={}, description="Further variables of its environment. Never write secrets here."
    )
    limits: AgentLimitsSection = Field(
        default=AgentLimitsSection(), description="What one trial may take before its agent is stopped."
    )
    parallel: Annotated[int, Field(ge=1, le=64)] = Field(
        default=2, description="Number of trials at once, of all models together."
    )
