"""A log format: the JSON lines of a proxy of your own."""

from collections.abc import Mapping
from typing import Any

from crossgrade.workloads.traffic import LogFormat, LoggedRequest


def read(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest | None:
    """Return the request of a row, None for one that is none; without `texts` leave its words out."""
    if row["acme_event"] != "completion":
        return None
    return LoggedRequest(
        format="acme-proxy",
        id=row.get("acme_id"),
        started_at=row.get("unix_s"),
        model=row.get("model"),
        provider=row.get("vendor"),
        route=row.get("application"),
        input=row.get("tokens_prompt"),
        output=row.get("tokens_answer"),
        messages=[{"role": "user", "content": row.get("prompt")}] if texts else None,
        completion=row.get("answer") if texts else None,
    )


ACME_PROXY = LogFormat(name="acme-proxy", marks=(frozenset({"acme_id", "acme_event"}),), read=read)
