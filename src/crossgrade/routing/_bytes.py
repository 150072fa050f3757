"""Writes route tables as canonical JSON bytes and reads them strictly, with the standard library only."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

from crossgrade.domain import keys_once, no_constant
from crossgrade.errors import ConfigError, UsageError
from crossgrade.routing.policy import Policy
from crossgrade.routing.router import read_router, router_tree
from crossgrade.routing.table import Growth, Route, RouteTable

SCHEMA_VERSION = 5
"""The newest version of the format.

Version 2 added `share`. Routes of a version 1 table have a share of 1. Version 3 added `max_bytes`, version
4 `plain_only` and routers, and version 5 `growth`. A table is written as the oldest version that has what it
needs, so that its digest stays the same and an older gateway can read it.
"""

READABLE = (1, 2, 3, 4, 5)
MAX_BYTES = 4 * 1024 * 1024

T = TypeVar("T")


def route_table_bytes(table: RouteTable) -> bytes:
    """Return the canonical form: UTF-8 JSON, sorted keys, no spaces, routes by name, a final newline.

    Equal tables give equal bytes, so that the digest names the content.
    """
    policies = [route.policy for route in table.routes]
    schema = 3 if any(each.max_bytes is not None for each in policies) else 2
    if any(route.policy.plain_only or route.router is not None for route in table.routes):
        schema = 4
    if any(route.growth is not None for route in table.routes):
        schema = SCHEMA_VERSION
    routes = [_route_tree(route, schema) for route in sorted(table.routes, key=lambda each: each.name)]
    tree = {
        "schema_version": schema,
        "version": table.version,
        "previous": table.previous,
        "routes": routes,
    }
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def route_table_digest(table: RouteTable) -> str:
    """Return `sha256:` and the hex digest of the canonical bytes."""
    return "sha256:" + hashlib.sha256(route_table_bytes(table)).hexdigest()


def read_route_table(data: bytes, *, file: str | None = None, digest: str | None = None) -> RouteTable:
    """Read a route table from its bytes.

    `file` is named in errors. With `digest`, bytes with another digest are refused, such as those of a
    table that was edited by hand. Raises `ConfigError` with the place of a missing, unknown or wrongly
    typed key, and for a table over `MAX_BYTES`.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"route table of {len(data)} bytes is over the limit of {MAX_BYTES}",
            code="route-table-too-large",
            file=file,
            hint=_HINT,
        )
    if digest is not None and digest != "sha256:" + hashlib.sha256(data).hexdigest():
        raise ConfigError(
            f"route table is not the one named {digest}", code="route-table-digest", file=file, hint=_HINT
        )
    return _Reader(file).table(_parse(data, file))


_HINT = "publish the table again with `crossgrade route apply`; route tables are not edited by hand"


def _route_tree(route: Route, schema: int) -> dict[str, Any]:
    """Return a route as plain JSON values, with times in UTC."""
    policy = route.policy
    until = route.valid_until
    return {
        "name": route.name,
        "policy": {
            "kind": policy.kind,
            "incumbent": policy.incumbent,
            "candidate": policy.candidate,
            "segments": list(policy.segments),
            "fact": policy.fact,
            **({"max_bytes": policy.max_bytes} if schema >= 3 else {}),
            **({"plain_only": policy.plain_only, "least_score": policy.least_score} if schema >= 4 else {}),
        },
        "targets": dict(route.targets),
        "valid_until": None if until is None else until.astimezone(UTC).isoformat(),
        "share": route.share,
        "verdict_id": route.verdict_id,
        "evidence_digest": route.evidence_digest,
        **({"router": None if route.router is None else router_tree(route.router)} if schema >= 4 else {}),
        **({"growth": _growth_tree(route.growth)} if schema >= 5 else {}),
    }


def _growth_tree(growth: Growth | None) -> dict[str, Any] | None:
    if growth is None:
        return None
    since = growth.since.astimezone(UTC).isoformat()
    return {"start": growth.start, "since": since, "rate": growth.rate, "is_held": growth.is_held}


def _parse(data: bytes, file: str | None) -> object:
    """Return the JSON tree; raise `ConfigError` for a repeated key, NaN or too deep nesting."""
    try:
        return json.loads(data.decode(), object_pairs_hook=keys_once, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"route table is not JSON: {error.msg}",
            code="route-table-invalid",
            file=file,
            line=error.lineno,
            column=error.colno,
            hint=_HINT,
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"route table is not readable: {error}", code="route-table-invalid", file=file, hint=_HINT
        ) from error


class _Reader:
    """Turns the JSON tree of a file into dataclasses."""

    def __init__(self, file: str | None) -> None:
        self._file = file

    def table(self, tree: object) -> RouteTable:
        if isinstance(tree, dict):
            self._check_readable(tree.get("schema_version"))  # first: a newer format may have other keys
        keys = {"schema_version", "version", "previous", "routes"}
        top = self._object(tree, "the table", keys)
        schema = top["schema_version"]
        if type(schema) is not int or schema not in READABLE:
            self._fail("schema_version", f"is {schema!r}, this release reads {READABLE}")
        rows = top["routes"]
        if not isinstance(rows, list):
            self._fail("routes", "is not a list")
        routes = tuple(self._route(row, f"routes[{index}]", schema) for index, row in enumerate(rows))
        version = top["version"]
        if type(version) is not int:
            self._fail("version", "is not a whole number")
        previous = self._text_or_none(top["previous"], "previous")
        return self._make("the table", lambda: RouteTable(version=version, routes=routes, previous=previous))

    def _check_readable(self, schema: object) -> None:
        """Refuse a table of a newer Crossgrade by a code of its own: nothing is wrong with it."""
        if type(schema) is int and schema > SCHEMA_VERSION:
            raise ConfigError(
                f"route table: its format {schema} is a newer Crossgrade's, this one reads {READABLE}",
                code="route-table-newer",
                file=self._file,
                where="schema_version",
                hint="upgrade Crossgrade here too; until then the table before it stays in force",
            )

    def _route(self, tree: object, where: str, schema: int) -> Route:
        keys = {"name", "policy", "targets", "valid_until", "verdict_id", "evidence_digest"}
        keys |= {"share"} if schema >= 2 else set()
        keys |= {"router"} if schema >= 4 else set()
        keys |= {"growth"} if schema >= 5 else set()
        row = self._object(tree, where, keys)
        share = row.get("share", 1.0)
        if type(share) not in (int, float):
            self._fail(f"{where}.share", "is not a number")
        policy = self._policy(row["policy"], f"{where}.policy", schema)
        targets = self._targets(row["targets"], f"{where}.targets")
        return self._make(
            where,
            lambda: Route(
                name=self._text(row["name"], f"{where}.name"),
                policy=policy,
                targets=targets,
                valid_until=self._time(row["valid_until"], f"{where}.valid_until"),
                share=float(share),
                verdict_id=self._text_or_none(row["verdict_id"], f"{where}.verdict_id"),
                evidence_digest=self._text_or_none(row["evidence_digest"], f"{where}.evidence_digest"),
                router=None if row.get("router") is None else read_router(row["router"]),
                growth=self._growth(row.get("growth"), f"{where}.growth"),
            ),
        )

    def _growth(self, tree: object, where: str) -> Growth | None:
        if tree is None:
            return None
        row = self._object(tree, where, {"start", "since", "rate", "is_held"})
        start, rate, is_held = row["start"], row["rate"], row["is_held"]
        since = self._time(row["since"], f"{where}.since")
        if type(start) is not int or type(rate) not in (int, float) or not isinstance(is_held, bool):
            self._fail(where, "has a value of another type")
        if since is None:
            self._fail(f"{where}.since", "is no time")
        return self._make(where, lambda: Growth(start=start, since=since, rate=float(rate), is_held=is_held))

    def _policy(self, tree: object, where: str, schema: int) -> Policy:
        keys = {"kind", "incumbent", "candidate", "segments", "fact"}
        keys |= {"max_bytes"} if schema >= 3 else set()
        keys |= {"plain_only", "least_score"} if schema >= 4 else set()
        row = self._object(tree, where, keys)
        most, plain_only, least = row.get("max_bytes"), row.get("plain_only", False), row.get("least_score")
        if not isinstance(plain_only, bool):
            self._fail(f"{where}.plain_only", "is not true or false")
        if least is not None and type(least) not in (int, float):
            self._fail(f"{where}.least_score", "is not a number")
        if most is not None and type(most) is not int:
            self._fail(f"{where}.max_bytes", "is not a whole number")
        segments = row["segments"]
        if not isinstance(segments, list):
            self._fail(f"{where}.segments", "is not a list")
        labels = tuple(self._text(label, f"{where}.segments[{i}]") for i, label in enumerate(segments))
        kind: Any = self._text(row["kind"], f"{where}.kind")
        fact: Any = self._text(row["fact"], f"{where}.fact")
        incumbent = self._text(row["incumbent"], f"{where}.incumbent")
        candidate = self._text_or_none(row["candidate"], f"{where}.candidate")
        return self._make(
            where,
            lambda: Policy(
                kind=kind,
                incumbent=incumbent,
                candidate=candidate,
                segments=labels,
                fact=fact,
                max_bytes=most,
                plain_only=plain_only,
                least_score=None if least is None else float(least),
            ),
        )

    def _targets(self, tree: object, where: str) -> Mapping[str, str]:
        if not isinstance(tree, dict):
            self._fail(where, "is not an object")
        return {model: self._text(offer, f"{where}.{model}") for model, offer in tree.items()}

    def _object(self, tree: object, where: str, keys: set[str]) -> dict[str, Any]:
        """Return the tree as an object with exactly these keys."""
        if not isinstance(tree, dict):
            self._fail(where, "is not an object")
        for key in sorted(keys - tree.keys()):
            self._fail(where, f"lacks the key {key!r}")
        for key in sorted(tree.keys() - keys):
            self._fail(where, f"has an unknown key {key!r}")
        return tree

    def _text(self, value: object, where: str) -> str:
        if not isinstance(value, str):
            self._fail(where, "is not a text")
        return value

    def _text_or_none(self, value: object, where: str) -> str | None:
        return None if value is None else self._text(value, where)

    def _time(self, value: object, where: str) -> datetime | None:
        if value is None:
            return None
        try:
            return datetime.fromisoformat(self._text(value, where))
        except ValueError:
            self._fail(where, f"{value!r} is not an RFC 3339 time")

    def _make(self, where: str, build: Callable[[], T]) -> T:
        """Build a value; raise its `UsageError` as a `ConfigError` with the place in the file."""
        try:
            return build()
        except ConfigError:
            raise
        except UsageError as error:
            raise ConfigError(
                error.message, code=error.code, file=self._file, where=where, hint=error.hint
            ) from error

    def _fail(self, where: str, problem: str) -> NoReturn:
        raise ConfigError(
            f"route table: {where} {problem}",
            code="route-table-invalid",
            file=self._file,
            where=where,
            hint=_HINT,
        )
