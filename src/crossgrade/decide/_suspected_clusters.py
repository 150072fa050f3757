"""Documents and conversations that samples share though nobody declared them, as ids and inputs betray."""

import re

import numpy as np

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import IntColumn
from crossgrade.decide._view import View

_NUMBER_AT_END = re.compile(r"[-_/.:# ]+(?:epoch|turn|part|chunk|page|q|v|p)?[-_ ]?\d{1,9}$", re.IGNORECASE)


def suspected_clusters(view: View) -> tuple[str, IntColumn] | None:
    """Return in words what betrays clusters, and the cluster of each of the first rows; None if nothing does.

    `doc7-q1, doc7-q2, doc8-q1 …` has the stems `doc7, doc8, …`; inputs that begin with one document begin
    alike. A single group, a group for every sample, or the segments or groups themselves say nothing.
    """
    stems = [_NUMBER_AT_END.sub("", str(name)[:200]) for name in view.evidence.sample_ids[: limits.IDS_READ]]
    found = _codes(view, stems)
    if found is not None:
        return f"have ids with only {len(np.unique(found)):,} stems", found
    found = _codes(view, _beginnings(view))
    if found is not None:
        return f"have inputs with only {len(np.unique(found)):,} beginnings", found
    return None


def _beginnings(view: View) -> list[str]:
    """Return how each input goes on after what all inputs share; a short one stands for itself."""
    texts = view.evidence.input
    if texts is None:
        return []
    read = ["" if text is None else str(text) for text in texts[: limits.IDS_READ]]
    known = [text for text in read if text]
    first, last = (min(known), max(known)) if known else ("", "")
    start = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    end = start + limits.BEGINNING
    return [text[start:end] if len(text) >= end else f"\0{row}" for row, text in enumerate(read)]


def _codes(view: View, names: list[str]) -> IntColumn | None:
    """Return a number for each name, where the names look like clusters."""
    distinct = {name: code for code, name in enumerate(dict.fromkeys(names))}
    if len(distinct) < limits.MIN_CLUSTERS or len(distinct) > limits.EFFECTIVE_SHARE * len(names):
        return None
    labels = view.evidence.segment if view.splittable else view.evidence.group
    if labels is not None and len(set(zip(names, labels[: len(names)], strict=True))) <= len(view.parts):
        return None
    return np.array([distinct[name] for name in names], dtype=np.int64)
