"""Short, safe quotations of what a provider sent, and what must be hidden in them."""

import re

LONGEST = 200

_SHORTEST_SECRET = 12

_SECRET = re.compile(
    r"\b(?:sk|gsk|xai|csk|key|pk|hf|r8|fw|AIza|ABSK|tgp_v1)[-_A-Za-z0-9.*]{12,}|(?i:bearer)\s+[^\s\"',]{8,}"
)


def excerpt(raw: bytes | str, *, longest: int = LONGEST) -> str:
    """Quote the start of `raw` on one line, control characters escaped and API keys as `***`."""
    window = raw[: 4 * longest + 1024]
    text = window.decode("utf-8", "replace") if isinstance(window, bytes) else window
    text = _SECRET.sub("***", " ".join(text.split()))
    text = "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def secret_of(key: str | None) -> bytes | None:
    """Return the bytes of a key to hide in answers; None without a key.

    A key of fewer than 12 characters (`EMPTY`, `none`) is a placeholder. Its letters may stand in any answer.
    """
    return key.encode() if key is not None and len(key) >= _SHORTEST_SECRET else None
