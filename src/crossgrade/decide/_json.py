"""Verdicts as plain JSON and back."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from crossgrade.decide._records import Verdict, VerdictName, shown_first
from crossgrade.errors import DataError

SCHEMA_VERSION = 3
"""Raised when a field changes meaning; fields that are added have defaults, so old records stay readable.

1 gave a retention one two-sided `level`; 2 gives each bound the confidence that it has by itself.
Up to 2 `reasons` and `would_change` were sentences; 3 has `Remark`s, each with a code.
"""

_SHOWN = ("value", "low", "low_confidence", "high", "high_confidence", "n", "outcome", "method")
_INFINITE = "Infinity"
_NUMBERS = frozenset({"value", "low", "high", "e_pass", "e_fail"})
"""The fields that may hold an infinity, which JSON has no number for: it is written as text."""


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as plain JSON values: decimals as text, times RFC 3339, `schema_version`.

    `retention` at the top is the figure that the sentence is about (`value`, `n`, `low` with
    `low_confidence`, `high` with `high_confidence`), and the `segment` that it is of; None if nothing was
    tested.
    """
    tree: dict[str, Any] = msgspec.to_builtins(verdict)
    shown = _shown(verdict)
    found: dict[str, Any] = finite_json({"schema_version": SCHEMA_VERSION, "retention": shown, **tree})
    return found


def verdict_from_json(tree: Any) -> Verdict:
    """Return the verdict that `verdict_to_json` wrote, by this release or an older one.

    Raises `DataError` for what is not a verdict, is one of a newer release, or shows another headline than
    its certificates have.
    """
    version = tree.get("schema_version", SCHEMA_VERSION) if isinstance(tree, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= SCHEMA_VERSION:
        raise DataError(
            f"verdict has schema version {version!r}, this release reads 1 to {SCHEMA_VERSION}",
            code="verdict-too-new",
            hint="upgrade crossgrade to read it",
        )
    if version > 1 and "schema_version" in tree and "method_version" not in tree:
        raise DataError(
            "verdict has no method_version", code="verdict-invalid", hint="decide again to write a new one"
        )
    try:
        verdict = msgspec.convert(_infinite(upgraded_verdict(tree)), Verdict)
        if version == SCHEMA_VERSION:
            _check_shown(tree.get("retention"), verdict)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise DataError(
            f"this is not a verdict: {error}", code="verdict-invalid", hint="decide again to write a new one"
        ) from error
    return verdict


_EXIT: dict[VerdictName, int] = {"switch": 0, "split": 0, "keep": 1, "undecided": 1, "invalid": 3}


def gate(verdict: Verdict) -> int:
    """Return the exit code of `decide --gate`: 0 on switch or split, 1 on keep or undecided, 3 on invalid."""
    return _EXIT[verdict.name]


def _shown(verdict: Verdict) -> dict[str, Any] | None:
    """Return the figure that is shown first, as plain values (None if nothing was tested)."""
    first = shown_first(verdict.certificates, verdict.policy.candidate, verdict.costs)
    if first is None:
        return None
    return {"segment": first.segment, **{key: getattr(first.retention, key) for key in _SHOWN}}


def _check_shown(recorded: Any, verdict: Verdict) -> None:
    """Raise `ValueError` where no certificate is on the whole, or another figure is shown than the first."""
    if all(one.segment is not None for one in verdict.certificates):
        raise ValueError("none of its certificates is on the whole workload")
    shown = finite_json(_shown(verdict)) or {}
    for key in () if not isinstance(recorded, dict) else recorded.keys() & shown.keys():
        if recorded[key] != shown[key]:
            raise ValueError(f"its headline says {key} {recorded[key]!r}, its certificates {shown[key]!r}")


def upgraded_verdict(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a verdict's tree as one of today's schema.

    Each side has half of what an old interval left out, and sentences are remarks without a code. One of
    today's comes back as it is. Raises `ValueError` for certificates without a retention, and for one of
    schema 2 or later that does not say by which method it was decided: only schema 1 left that out.
    """

    def with_sides(certificate: dict[str, Any]) -> dict[str, Any]:
        retention = dict(certificate["retention"])
        if "low_confidence" in retention:
            if "method_version" not in tree:
                raise ValueError("it has no method_version")
            return certificate
        level = float(retention.pop("level"))
        if not 0 < level < 1:
            raise ValueError(f"a level of {level}")
        side = (1 + level) / 2
        return {**certificate, "retention": {**retention, "low_confidence": side, "high_confidence": side}}

    remarks = {
        name: [{"code": None, "text": each} if isinstance(each, str) else each for each in tree[name]]
        for name in ("reasons", "would_change")
        if isinstance(tree.get(name), list)
    }
    try:
        return {**tree, **remarks, "certificates": [with_sides(each) for each in tree["certificates"]]}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its certificates have no {error}") from error


def finite_json(node: Any) -> Any:
    """Return a JSON tree with the texts "Infinity", "-Infinity" and "NaN" for the numbers that JSON lacks."""
    if isinstance(node, Mapping):
        return {key: finite_json(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [finite_json(value) for value in node]
    if isinstance(node, float) and not math.isfinite(node):
        return "NaN" if math.isnan(node) else _INFINITE if node > 0 else f"-{_INFINITE}"
    return node


def _infinite(node: Any) -> Any:
    """Return the tree with infinities as numbers again, in the fields that are numbers."""
    if isinstance(node, dict):
        return {
            key: float(value)
            if key in _NUMBERS and isinstance(value, str) and value.removeprefix("-") == _INFINITE
            else _infinite(value)
            for key, value in node.items()
        }
    return [_infinite(value) for value in node] if isinstance(node, list) else node
