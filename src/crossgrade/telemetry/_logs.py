"""Log lines: one JSON object each, under few and fixed field names.

`at` (RFC 3339, UTC), `level`, `event` (a short name), then what belongs to it: `request_id`,
`route`, `target`, `worker`, `file`, `error`, `hint` … Prompts and answers have no field.
"""

from datetime import UTC, datetime
from typing import Literal

import msgspec

Level = Literal["info", "warning", "error"]
_LONGEST = 2_000


def log_line(event: str, *, at: float, level: Level = "info", **fields: object) -> str:
    """Return one line of the log without its end; `at` is seconds since 1970.

    Texts are cut at 2,000 characters; JSON escapes control characters, so that nothing a client
    sends can begin a line. Fields that are None are left out.
    """
    time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    line: dict[str, object] = {"at": time, "level": level, "event": event}
    line.update({name: _bounded(value) for name, value in fields.items() if value is not None})
    return msgspec.json.encode(line, enc_hook=str).decode("utf-8", "replace").replace("\x7f", "\\u007f")


def _bounded(value: object) -> object:
    if isinstance(value, str):
        # A lone surrogate (from a file name, say) cannot be encoded.
        return value[:_LONGEST].encode("utf-8", "replace").decode()
    return value
