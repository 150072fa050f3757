"""What results say of an agent's runs: what they were made with, how many there are, and why some failed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from shlex import quote
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import SETUP_FIELDS, AgentRuns, AgentSetup, FailureCount, read_failure
from crossgrade.errors import DataError, NotFoundError, closest
from crossgrade.workloads._results import Labels, Results, Rows, TextColumn, rows_of

_COUNTS = msgspec.json.Decoder(dict[str, Annotated[int, msgspec.Meta(ge=0, le=10**9)]])
_SHOWN_TOOLS = 8


def is_of_agents(results: Results) -> bool:
    """Return whether the results say anything of agents."""
    return any(name in results.labels for name in (*SETUP_FIELDS, "failure"))


def agent_runs(results: Results, rows: Rows) -> dict[AgentSetup, AgentRuns]:
    """Return what is known of the runs among some rows of one model, by what they were made with.

    It is empty where the results say nothing of agents.
    """
    if not is_of_agents(results):
        return {}
    return {setup: _counted(results, setup, chosen) for setup, chosen in rows_by_setup(results, rows).items()}


def rows_by_setup(results: Results, rows: Rows) -> dict[AgentSetup, Rows]:
    """Return the rows by what they were made with, in the order in which it first stands there."""
    columns = [results.labels.get(name) for name in SETUP_FIELDS]
    codes = np.stack([np.full(len(rows), -1) if each is None else each.codes[rows] for each in columns])
    distinct, first, which = np.unique(codes, axis=1, return_index=True, return_inverse=True)
    found = {}
    for at in np.argsort(first).tolist():
        names = {
            name: str(column.names[code])
            for name, column, code in zip(SETUP_FIELDS, columns, distinct[:, at].tolist(), strict=True)
            if column is not None and code >= 0
        }
        found[AgentSetup(**names)] = rows[which.ravel() == at]
    return found


def _counted(results: Results, setup: AgentSetup, rows: Rows) -> AgentRuns:
    attempts = np.bincount(results.samples.codes[rows])
    attempts = attempts[attempts > 0]
    return AgentRuns(
        setup=setup,
        trials=len(rows),
        attempts=(int(attempts.min(initial=len(rows))), int(attempts.max(initial=0))),
        without_verdict=int(results.error[rows].sum()),
        cost_unknown=int(unknown_costs(results, rows).sum()),
        failures=_failures(results, rows),
        model_calls=_mean(results, rows, "model_calls"),
        tool_calls=_mean(results, rows, "tool_calls"),
        tools=_tools(results, rows),
    )


def _mean(results: Results, rows: Rows, amount: str) -> float | None:
    """Return the mean of an amount over the rows where it is known, None if it is known of none."""
    if amount not in results.amounts:
        return None
    values = results.amounts[amount][rows]
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def unknown_costs(results: Results, rows: Rows) -> NDArray[np.bool_]:
    """Return which of some trials have a verdict and no known cost, where others have one.

    Trials that ran out of time often record no tokens. A mean over the others would make them cheap.
    """
    if "cost_usd" not in results.amounts:
        return np.zeros(len(rows), np.bool_)
    known = np.isfinite(results.amounts["cost_usd"][rows])
    missing: NDArray[np.bool_] = ~known & ~results.error[rows] & known.any()
    return missing


def _tools(results: Results, rows: Rows) -> dict[str, float]:
    """Return the mean calls of the most frequent tools a row, over the rows whose calls are known."""
    column, calls = results.labels.get("tool_counts"), results.amounts.get("tool_calls")
    if column is None or calls is None:
        return {}
    codes, known = column.codes[rows], int(np.isfinite(calls[rows]).sum())
    totals: Counter[str] = Counter()
    for code, number in Counter(codes[codes >= 0].tolist()).items():
        for name, count in _tool_counts(str(column.names[code])).items():
            totals[name] += count * number
    return {name: total / known for name, total in totals.most_common(_SHOWN_TOOLS)} if known else {}


def _tool_counts(text: str) -> dict[str, int]:
    """Return the counts of a JSON object by name; nothing for any other text, as a table may have."""
    try:
        return _COUNTS.decode(text)
    except msgspec.MsgspecError:
        return {}


def _failures(results: Results, rows: Rows) -> tuple[FailureCount, ...]:
    """Return how the trials failed, the most frequent first."""
    column = results.labels.get("failure")
    if column is None:
        return ()
    codes, lacking = column.codes[rows], results.error[rows]
    trials = Counter(codes[codes >= 0].tolist())
    without = Counter(codes[(codes >= 0) & lacking].tolist())
    counts = []
    for code, number in trials.most_common():
        origin, name = read_failure(str(column.names[code]))
        counts.append(FailureCount(name=name, origin=origin, trials=number, without_verdict=without[code]))
    return tuple(counts)


def runs_of_agent(results: Results, agent: str) -> Results:
    """Return the runs of one agent; all of them where they name no agent."""
    column = results.labels.get("agent")
    if column is None:
        return results
    own = [code for code, name in enumerate(column.names.tolist()) if name == agent]
    return rows_of(results, np.flatnonzero(np.isin(column.codes, own)))


def select_runs(
    results: Results,
    *,
    incumbent: str | None,
    candidates: Sequence[str],
    agent: str | None = None,
    incumbent_agent: str | None = None,
) -> tuple[Results, str | None, list[str]]:
    """Return the runs that are to be compared, and what the models are called among them.

    `agent` keeps the runs of that agent, and `incumbent_agent` those of another one for the incumbent, where
    models are then called `MODEL (AGENT)`. Without them nothing changes, if one agent ran each model.

    Raises `NotFoundError` for an agent without runs, and `DataError` for a model that several agents ran.
    """
    named = list(candidates)
    column = results.labels.get("agent")
    if column is None:
        if agent is not None or incumbent_agent is not None:
            raise _no_agent(agent or str(incumbent_agent), ())
        return results, incumbent, named
    for each in (agent, incumbent_agent):
        if each is not None and each not in column.names:
            raise _no_agent(each, tuple(map(str, column.names)))
    models = np.array([*results.models.names.tolist(), None], dtype=np.object_)[results.models.codes]
    agents = np.append(column.names, [None])[column.codes]
    chosen = np.ones(len(results), dtype=np.bool_)
    if agent is not None:
        chosen = agents == agent
    if incumbent_agent not in (None, agent) and incumbent is not None:
        theirs = (models == incumbent) & (agents == incumbent_agent)
        chosen = ((models != incumbent) | (np.isin(models, named) & (agents == agent))) & chosen | theirs
        spelt = np.array([f"{m} ({a})" if a else m for m, a in zip(models, agents, strict=True)], object)
        spellings = {model: set(spelt[models == model].tolist()) for model in results.stated_means}
        means = {
            str(name): mean
            for model, mean in results.stated_means.items()
            for name in spellings[model]
            if len(spellings[model]) == 1  # a mean of several agents' runs is none of one's
        }
        renamed = replace(results, models=_labelled(spelt), stated_means=means)
        kept = rows_of(renamed, np.flatnonzero(chosen))
        called = [name if agent is None else f"{name} ({agent})" for name in named]
        return _without_others(kept), f"{incumbent} ({incumbent_agent})", called
    compared = {incumbent, *named} if named else set(results.model_names)
    for model in results.model_names:
        several = sorted({str(each) for each in agents[chosen & (models == model)] if each is not None})
        if model in compared and len(several) > 1:
            raise DataError(
                f"{model} was run by several agents: {', '.join(several)}",
                code="agent-not-named",
                hint=f"name the one whose runs are compared, such as `--agent {quote(several[0])}`",
            )
    return _without_others(rows_of(results, np.flatnonzero(chosen))), incumbent, named


def _no_agent(agent: str, known: Sequence[str]) -> NotFoundError:
    return NotFoundError(
        f"no runs of the agent {agent!r}; the agents are {', '.join(known) or 'not named'}"
        f"{closest(agent, known)}",
        code="agent-not-in-results",
        hint="name an agent as the results do",
    )


def _labelled(names: TextColumn) -> Labels:
    distinct = list(dict.fromkeys(names.tolist()))
    at = {name: code for code, name in enumerate(distinct)}
    return Labels(np.array([at[name] for name in names.tolist()], np.int32), np.array(distinct, np.object_))


def _without_others(results: Results) -> Results:
    """Return the results without the models that have no rows in them."""
    codes = np.unique(results.models.codes)
    if len(codes) == len(results.models.names):
        return results
    number = np.full(len(results.models.names), -1, np.int32)
    number[codes] = np.arange(len(codes), dtype=np.int32)
    return replace(results, models=Labels(number[results.models.codes], results.models.names[codes]))
