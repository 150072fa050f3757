"""Agents in a log: requests that are steps of a loop of answers and tools, and the runs that they make up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import EvidenceClass

NO_TOOLS, CALLS_TOOLS, IN_LOOP = range(3)
"""What a request has to do with tools: nothing, the model called one, or it read what one gave."""

LOOP_SHARE = 0.1
"""From this share of requests in loops on, a workload is an agent's: its runs are what can be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRuns:
    """The runs of an agent in a log: sessions in which the model read what tools gave.

    Figures are means a run.
    `usd` is the cost of a run, and the tokens are those of all its calls, by the mean of the calls of which
    they are known (None: of none).
    """

    runs: int
    calls: float
    input_tokens: float | None
    cached_tokens: float | None
    output_tokens: float | None
    usd: float | None


def loops_among(tools: NDArray[Any], texts: NDArray[Any]) -> tuple[int, int]:
    """Return how many requests are in loops, and of how many that is known: those with texts or of a run."""
    loops = tools == IN_LOOP
    return int(loops.sum()), int((loops | (texts != 0)).sum())


def session_effect(session: NDArray[Any]) -> float:
    """Return by how much sessions raise the variance of a share of their requests (0: of no known session).

    A session is an agent's or not, so its requests count as one: the design effect of clusters of a
    correlation of 1 is their mean size over the requests (L. Kish, Survey Sampling, 1965, section 5.4).
    """
    _, sizes = np.unique(session[session != 0], return_counts=True)
    alone = len(session) - int(sizes.sum())
    return float((sizes.astype(np.float64) ** 2).sum() + alone) / max(len(session), 1)


def evidence_of(loops: int, known: int) -> EvidenceClass | None:
    """Return the evidence that a workload needs, from its requests in loops, and of how many that is known.

    None is unknown, because the log carries no texts.
    """
    if not known:
        return None
    return "agentic" if loops >= LOOP_SHARE * known else "plain"


def samples_evidence(
    tools: NDArray[Any], session: NDArray[Any], texts: NDArray[Any], fit: NDArray[np.bool_]
) -> EvidenceClass | None:
    """Return the evidence that samples of a workload need, drawn from the requests that are `fit`.

    Beside an agent's requests there may be plain ones, which move without it. Samples are an agent's if a
    tenth of the fit requests are of its runs, such as the first of each, or of no known session.
    """
    needs = evidence_of(*loops_among(tools, texts))
    if needs != "agentic":
        return needs
    own = session[fit]
    doubtful = (own == 0) | np.isin(own, session[tools == IN_LOOP])
    return "agentic" if doubtful.sum() >= LOOP_SHARE * len(own) else "plain"


def logged_runs(
    tools: NDArray[Any],
    session: NDArray[Any],
    tokens: Mapping[str, NDArray[Any]],
    spend: NDArray[np.float64],
) -> LoggedRuns | None:
    """Return the runs among requests, None if no session of a request in a loop is known.

    `tools` has one of `NO_TOOLS`, `CALLS_TOOLS` and `IN_LOOP` for each request, `session` its session (0: not
    known). `tokens` are counts (negative: unknown), `spend` dollars (NaN: unknown).
    """
    of_agents = np.unique(session[(tools == IN_LOOP) & (session != 0)])
    if not len(of_agents):
        return None
    rows = np.isin(session, of_agents)
    calls = int(rows.sum()) / len(of_agents)
    return LoggedRuns(
        runs=len(of_agents),
        calls=calls,
        input_tokens=_per_run(tokens["input"][rows], calls),
        cached_tokens=_per_run(tokens["cached"][rows], calls),
        output_tokens=_per_run(tokens["output"][rows], calls),
        usd=_per_run(spend[rows], calls),
    )


def _per_run(values: NDArray[Any], calls: float) -> float | None:
    """Return what a run of so many calls takes, by the mean of those where it is known (None: of none)."""
    known = values[values >= 0]  # which NaN is not
    return float(known.mean(dtype=np.float64)) * calls if len(known) else None
