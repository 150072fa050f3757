"""Trajectories of agents in ATIF, versions 1.0 to 1.8: tokens, cost, and what the agent did."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from crossgrade.domain import AgentWork, Usage
from crossgrade.errors import DataError
from crossgrade.workloads.files import FileLimits, decode_document, read_whole
from crossgrade.workloads.files.limits import MIB

LARGEST_TRAJECTORY = 64 * MIB


_Count = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
_Dollars = Annotated[float, msgspec.Meta(ge=0, le=10**6)]


class _Metrics(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    cached_tokens: _Count | None = None


class _FinalMetrics(msgspec.Struct):
    total_prompt_tokens: _Count | None = None
    total_completion_tokens: _Count | None = None
    total_cached_tokens: _Count | None = None
    total_cost_usd: _Dollars | None = None


class _ToolCall(msgspec.Struct):
    function_name: str = "unknown"


class _Step(msgspec.Struct):
    source: str = ""
    tool_calls: list[_ToolCall] | None = None
    metrics: _Metrics | None = None
    llm_call_count: _Count | None = None
    is_copied_context: bool | None = None


class _Document(msgspec.Struct):
    steps: list[_Step] = []
    final_metrics: _FinalMetrics | None = None
    subagent_trajectories: "list[_Document] | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """What a trajectory says of its trial; None is not known."""

    usage: Usage
    cost_usd: float | None
    work: AgentWork


def read_trajectory(path: Path, limits: FileLimits) -> Trajectory | None:
    """Return what a trajectory says, None if there is none, it is too large or it is no trajectory.

    Its totals count. Without them the sums over the steps do, where every step of the agent has the figure.
    """
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_TRAJECTORY:
            return None
        document = decode_document(read_whole(path, limits), _Document, path=path)
    except (OSError, DataError):
        return None
    steps = _own_steps(document)
    totals = document.final_metrics or _FinalMetrics()
    return Trajectory(
        usage=Usage(
            input_tokens=_total(totals.total_prompt_tokens, steps, "prompt_tokens"),
            output_tokens=_total(totals.total_completion_tokens, steps, "completion_tokens"),
            cache_read_input_tokens=_total(totals.total_cached_tokens, steps, "cached_tokens"),
        ),
        cost_usd=totals.total_cost_usd,
        work=_work([*steps, *_steps_of_others(document)]),
    )


def _own_steps(document: _Document) -> list[_Step]:
    """Return the steps of the agent itself.

    A continuation begins with steps of the trajectory before it, which are counted there.
    """
    return [each for each in document.steps if each.source == "agent" and not each.is_copied_context]


def _steps_of_others(document: _Document) -> list[_Step]:
    """Return the steps of the agents that this one called, as far as they stand in its own trajectory."""
    inner = document.subagent_trajectories or []
    return [step for each in inner for step in (*_own_steps(each), *_steps_of_others(each))]


def _total(stated: int | None, steps: Sequence[_Step], name: str) -> int | None:
    """Return a total as it is stated, else the sum over the steps, None if one of them lacks it."""
    if stated is not None:
        return stated
    found = [None if each.metrics is None else getattr(each.metrics, name) for each in steps]
    known = [each for each in found if each is not None]
    return sum(known) if known and len(known) == len(found) else None


def _work(steps: Sequence[_Step]) -> AgentWork:
    """Return the answers of the model and the calls of tools in the steps of an agent.

    A step is one answer, unless it says how many calls of the model it took.
    """
    tools = Counter(call.function_name for each in steps for call in each.tool_calls or ())
    calls = [1 if each.llm_call_count is None else each.llm_call_count for each in steps]
    return AgentWork(model_calls=sum(calls), tools=dict(tools))
