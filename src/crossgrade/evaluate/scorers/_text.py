"""Which part of an answer is scored, and when two texts count as the same."""

import re
import unicodedata
from collections import deque

CONSIDERED_CHARACTERS = 1 << 20
"""Answers are cut here before anything looks at them."""

_SURROGATES = re.compile("[\ud800-\udfff]")
_INVISIBLE = dict.fromkeys(
    [0x00AD, 0x061C, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)]
)
_ENDS = " .,;:!?\"'`*_“”‘’„«»…。，！？、；："


def considered(text: str) -> str:
    """Return the part of an answer that is scored.

    The first 2**20 characters, lone surrogates replaced, and without the reasoning that some
    open models write before their answer between `<think>` and `</think>` (or only up to
    `</think>`, where a chat template opened it). Reasoning that never ends leaves nothing.
    """
    text = text[:CONSIDERED_CHARACTERS]
    if not text.isascii():
        text = _SURROGATES.sub("\ufffd", text)
    if "think>" not in text:
        return text
    opened = text.lstrip().startswith("<think>")
    if not opened and not ("</think>" in text and "<think>" not in text):
        return text
    _, closed, answer = text.rpartition("</think>")
    return answer if closed and not answer.lstrip().startswith("<think>") else ""


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Return the last match of a pattern, or None."""
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def visible(text: str) -> str:
    """Return the text without zero-width characters and direction marks."""
    return text if text.isascii() else text.translate(_INVISIBLE)


def fold_case(text: str) -> str:
    """Return the text caselessly, compatibility forms unified (Unicode 3.13, D146)."""
    if text.isascii():
        return text.lower()
    for form in ("NFD", "NFKC"):
        text = unicodedata.normalize(form, text).casefold()
    return unicodedata.normalize("NFKC", text)


def normalise(text: str, *, ignore_case: bool = True, strip_punctuation: bool = True) -> str:
    """Return the form in which two texts are compared.

    White space is collapsed and invisible characters dropped always; case on request;
    punctuation, quotes and Markdown emphasis are stripped from both ends on request, unless
    nothing else is there. Applying it twice changes nothing.
    """
    text = visible(text)
    if ignore_case:
        text = fold_case(text)
    elif not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = " ".join(visible(text).split())
    return (text.strip(_ENDS) or text) if strip_punctuation else text
