"""Kinds of request put together into workloads: few enough to read, each told by its strongest facts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten

import numpy as np
from numpy.typing import NDArray

from crossgrade.workloads.traffic.kinds import Kind, slug, telling, words_of

MOST_WORKLOADS = 40
_SPLIT_SHARE, _SPLIT_REQUESTS = 0.05, 20
_ALIKE_SHARE = 0.95
_TELLING_PROMPT = 4
_SHOWN_PROMPT = 80
REST = "everything-else"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A workload as found: its name, and the kinds of request that are in it.

    `opening` is set where requests of one application were told apart by how they begin; `rest`
    marks what is left of an application after that, or of the whole.
    """

    name: str
    kind: Kind
    rest: bool = False

    def reason(self) -> str:
        """Say by which facts its requests were put together."""
        facts = [f"route {self.kind.route}"] if self.kind.route else []
        if self.kind.call != "chat":
            facts.append(f"{self.kind.call} calls")
        if self.kind.system:
            facts.append(f"system prompt “{_beginning(self.kind.system)}”")
        if self.kind.tools:
            facts.append(f"tools {', '.join(self.kind.tools[:4])}")
        if self.kind.shape:
            facts.append("JSON answers")
        if self.kind.opening:
            facts.append(f"begins “{self.kind.opening}”")
        if self.rest:
            facts.append("all others")
        return "; ".join(facts) or "nothing tells these requests apart"


def group(
    kinds: Sequence[Kind], requests: NDArray[np.int64], spend: NDArray[np.float64]
) -> tuple[list[Group], NDArray[np.int32]]:
    """Return the workloads, largest spend first, and the number of each kind's workload.

    `requests` and `spend` are by kind. Where neither a system prompt nor tools say much, requests
    that begin alike and are 5 % of their application are a workload of their own.
    """
    labels = [_label(kind) for kind in kinds]
    split = _openings(kinds, labels, requests)
    chosen = [
        (base._replace(opening=kind.opening) if (base, kind.opening) in split else base)
        for kind, base in zip(kinds, labels, strict=True)
    ]
    totals: dict[Kind, list[float]] = {}
    for kind, n, cost in zip(chosen, requests.tolist(), spend.tolist(), strict=True):
        total = totals.setdefault(kind, [0.0, 0.0])
        total[0] += cost
        total[1] += n
    ranked = sorted(totals, key=lambda kind: (-totals[kind][0], -totals[kind][1], str(kind)))
    ranked = [kind for kind in ranked if totals[kind][1]]
    kept = ranked if len(ranked) <= MOST_WORKLOADS else ranked[: MOST_WORKLOADS - 1]
    groups = _named(kept, {base for base, _ in split})
    place = {kind: at for at, kind in enumerate(kept)}
    if len(kept) < len(ranked):
        groups.append(Group(name=REST, kind=Kind(None, None, (), "", ""), rest=True))
    rest = len(kept) if len(kept) < len(ranked) else 0
    return groups, np.array([place.get(kind, rest) for kind in chosen], np.int32)


def _beginning(prompt: str) -> str:
    """Return a prompt's first sentence, or as many of its words as a line takes."""
    sentence = re.split(r"(?<=[.!?:])\s", prompt, maxsplit=1)[0]
    return shorten(sentence, _SHOWN_PROMPT, placeholder="…") or f"{sentence[:_SHOWN_PROMPT]}…"


def _label(kind: Kind) -> Kind:
    """Return the kind by its stronger facts."""
    return kind.without_opening()


def _openings(
    kinds: Sequence[Kind], labels: Sequence[Kind], requests: NDArray[np.int64]
) -> set[tuple[Kind, str]]:
    """Return the openings that are workloads of their own."""
    of_base: dict[Kind, int] = {}
    of_opening: dict[tuple[Kind, str], int] = {}
    for kind, base, n in zip(kinds, labels, requests.tolist(), strict=True):
        of_base[base] = of_base.get(base, 0) + n
        if kind.opening and _is_open(base) and telling(kind.opening):
            of_opening[base, kind.opening] = of_opening.get((base, kind.opening), 0) + n
    return {
        (base, opening)
        for (base, opening), n in of_opening.items()
        if n >= max(_SPLIT_REQUESTS, _SPLIT_SHARE * of_base[base])
        # Where nearly all begin alike, that tells nothing which the application or the prompt does not.
        and (n < _ALIKE_SHARE * of_base[base] or not (base.route or base.system))
    }


def _is_open(base: Kind) -> bool:
    return not base.tools and len(telling(base.system)) < _TELLING_PROMPT


def _named(kinds: Sequence[Kind], split: set[Kind]) -> list[Group]:
    taken: dict[str, int] = {}
    groups = []
    prompts: dict[str | None, set[str | None]] = {}
    for kind in kinds:
        prompts.setdefault(kind.route, set()).add(kind.system)
    for kind in kinds:
        name = slug(words_of(kind, with_prompt=len(prompts[kind.route]) > 1))
        taken[name] = taken.get(name, 0) + 1
        if taken[name] > 1:
            name = f"{name}-{taken[name]}"
        groups.append(Group(name=name, kind=kind, rest=kind in split and not kind.opening))
    return groups
