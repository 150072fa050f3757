"""Removes from texts what identifies a person or gives access: addresses, numbers, keys.

What is found is replaced by its kind in brackets (`[email]`), so that texts stay readable. RE2
runs the patterns in time linear in the text. It is not complete: names and street
addresses have no pattern.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Any

import msgspec
import re2  # type: ignore[import-untyped]  # the package ships no types

from crossgrade.domain import JSON

_DEEPEST = 200
_NOT_PROSE = frozenset({"model", "role", "type", "id", "object", "tool_call_id", "call_id", "finish_reason"})


def _passes_luhn(match: Any) -> bool:
    digits = [int(char) for char in match.group() if char.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) if at % 2 else digit for at, digit in enumerate(reversed(digits))]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and sum(doubled) % 10 == 0


def _passes_mod_97(match: Any) -> bool:
    """Check an IBAN's check digits (ISO 13616)."""
    text = match.group().replace(" ", "").upper()
    number = int("".join(str(int(char, 36)) for char in text[4:] + text[:4]))
    return 15 <= len(text) <= 34 and number % 97 == 1


def _is_phone(match: Any) -> bool:
    digits = [char for char in match.group() if char.isdigit()]
    return 9 <= len(digits) <= 15


def _is_address(match: Any) -> bool:
    """Check an IPv4 or IPv6 address; a time of day and a version number are none."""
    try:
        ip_address(match.group())
    except ValueError:
        return False
    return True


def _always(_match: Any) -> bool:
    return True


_KEY = (
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|\b(?:sk|pk|rk)[-_](?:[A-Za-z0-9]+[-_])*[A-Za-z0-9]{16,}[A-Za-z0-9_-]*"
    r"|\bgh[opsur]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}"
    r"|\bhf_[A-Za-z0-9]{20,}|\bgsk_[A-Za-z0-9]{20,}"
    r"|(?i:\bbearer\s+[a-z0-9._~+/-]{16,}=*)"
)
_EMAIL = r"[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b"
_IBAN = r"\b[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?\b"
_CARD = r"\b\d(?:[ -]?\d){12,18}\b"
_PHONE = (
    r"(?:\+|\b00)\d{1,3}[ .()/-]{0,3}\d(?:[ .()/-]{0,2}\d){5,13}\b"
    r"|\(\d{2,5}\)[ .-]?\d{2,4}(?:[ .-]?\d{2,4}){1,3}\b"
    r"|\b\d{3}[-. ]\d{3}[-. ]\d{4}\b"
    r"|\b0\d{1,4}(?:[ ./-]\d{2,8}){1,5}\b"
)
_IP = r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\b(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,7}\b"
_KINDS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("key", _KEY, _always),
    ("email", _EMAIL, _always),
    ("iban", _IBAN, _passes_mod_97),
    ("card", _CARD, _passes_luhn),
    ("ip", _IP, _is_address),
    ("phone", _PHONE, _is_phone),
)
_PATTERNS = tuple((kind, re2.compile(pattern), holds) for kind, pattern, holds in _KINDS)


_SEALED = re2.compile(r"\[([a-z]+):([A-Za-z0-9_-]{22,})\]")


class Redactor:
    """Removes from texts what identifies a person or gives access; `found` counts it by kind.

    `seal` encrypts what was found into letters that stand beside its kind, so that the holder of the key can
    restore the text. Without it the removed parts are lost. `names` finds names
    of persons, which have no pattern: it returns where they begin and end.
    """

    def __init__(
        self,
        *,
        seal: Callable[[str], str] | None = None,
        names: Callable[[str], Sequence[tuple[int, int]]] | None = None,
    ) -> None:
        self.found: Counter[str] = Counter()
        self._seal = seal
        self._names = names

    def text(self, text: str) -> str:
        """Return a text without e-mail and IP addresses, phone, card and account numbers, keys and tokens."""
        if text.startswith("data:"):  # an image or a file: bytes, not words
            return text
        if self._names is not None:
            for start, end in sorted(self._names(text), reverse=True):
                text = f"{text[:start]}{self._taken('name', text[start:end])}{text[end:]}"
        for kind, pattern, holds in _PATTERNS:
            text = pattern.sub(partial(self._replaced, kind, holds), text)
        return text

    def _replaced(self, kind: str, holds: Callable[[Any], bool], match: Any) -> str:
        seen = str(match.group())
        return self._taken(kind, seen) if holds(match) else seen

    def _taken(self, kind: str, seen: str) -> str:
        self.found[kind] += 1
        return f"[{kind}]" if self._seal is None else f"[{kind}:{self._seal(seen)}]"


def revealed(text: str, unseal: Callable[[str], str | None]) -> str:
    """Return a text with what was sealed put back; what `unseal` returns None for stays as it is."""

    def opened(match: Any) -> str:
        found = unseal(match.group(2))
        return str(match.group()) if found is None else found

    return str(_SEALED.sub(opened, text))


def redact_text(text: str) -> str:
    """Replace e-mail and IP addresses, phone, card and account numbers, keys and tokens by their kind."""
    return Redactor().text(text)


def redact_json(value: JSON, *, depth: int = 0) -> JSON:
    """Return a JSON value with every text in it redacted, but for names of models, roles and types.

    What is nested deeper than 200 levels is left out.
    """
    if isinstance(value, str):
        return redact_text(value)
    if depth >= _DEEPEST:
        return None
    if isinstance(value, Mapping):
        return {
            key: inner
            if key in _NOT_PROSE and isinstance(inner, str)
            else redact_json(inner, depth=depth + 1)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact_json(inner, depth=depth + 1) for inner in value]
    return value


def redact_body(body: bytes) -> bytes | None:
    """Return a JSON body redacted, or None if it cannot be read."""
    try:
        return msgspec.json.encode(redact_json(msgspec.json.decode(body)))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
