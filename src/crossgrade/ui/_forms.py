"""Forms as closed lists of fields, with limits on size and number."""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import NoReturn
from urllib.parse import parse_qsl
from uuid import uuid4

from starlette.requests import Request

from crossgrade.errors import UsageError

MOST_BYTES = 65_536
_MOST_FIELDS = 64
_FORM = "application/x-www-form-urlencoded"
_HINT = "open the page again and use its buttons"
_ACTION = re.compile(r"[0-9a-f]{32}")


async def read_form(request: Request, fields: Collection[str]) -> Mapping[str, str]:
    """Return the fields of a form, each at most once.

    Raises UsageError `form-type-unknown`, `form-too-large`, `form-field-unknown` or `form-invalid`.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != _FORM:
        raise UsageError("the body is no form of the page", code="form-type-unknown", hint=_HINT)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BYTES:
            raise UsageError(
                f"the form is larger than {MOST_BYTES} bytes", code="form-too-large", hint="shorten the note"
            )
    try:
        pairs = parse_qsl(
            data.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(data),
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        _refuse("the form cannot be read")
    found = dict(pairs)
    if len(found) < len(pairs):
        _refuse("a field of the form comes twice")
    if unknown := sorted(found.keys() - set(fields)):
        name = unknown[0][:40]
        raise UsageError(
            f"the form has a field `{name}`, which is unknown", code="form-field-unknown", hint=_HINT
        )
    return found


def new_action() -> str:
    """Return the id of an action that a page offers: sent twice, it is done once."""
    return uuid4().hex


def action_of(form: Mapping[str, str]) -> str:
    """Return the id that the page gave the action; raises UsageError `form-invalid`."""
    action = form.get("action", "")
    if not _ACTION.fullmatch(action):
        _refuse("the form has no id of its action")
    return action


def shown_at(form: Mapping[str, str]) -> datetime:
    """Return when the page was made; raises UsageError `form-invalid`."""
    try:
        at = datetime.fromisoformat(form.get("shown", ""))
    except ValueError:
        _refuse("the form does not say when it was shown")
    if at.tzinfo is None:
        _refuse("the form does not say when it was shown")
    return min(at, datetime.now(UTC))


def _refuse(message: str) -> NoReturn:
    raise UsageError(message, code="form-invalid", hint=_HINT)
