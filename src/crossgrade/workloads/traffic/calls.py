"""What kind of call a request is: only calls of one kind may answer each other."""

import re
from functools import lru_cache

CALLS = ("chat", "completion", "batch", "embedding", "image", "audio", "rerank", "moderation")
ASKABLE = frozenset({"chat", "completion", "batch"})
"""The kinds whose answers are texts, which an evaluation can ask and score."""

COMPARED = ASKABLE | {"embedding"}
"""The kinds that are billed by tokens of text, so that their offers can be compared."""

_BY_WORD = (
    ("rerank", r"rerank"),
    ("embedding", r"embed|(?<![a-z])ada-002"),
    ("moderation", r"moderation"),
    ("image", r"image|dall-e|imagen|stable-diffusion|(?<![a-z])flux"),
    ("audio", r"audio|speech|transcri|whisper|(?<![a-z])tts(?![a-z])"),
)
_COMPLETION = re.compile(r"text_completion|(?<!chat)/completions|^completions$")


def call_of(stated: str | None, model: str | None, *, batch: bool) -> str:
    """Return a call's kind: by what the log calls it (a type or a path), else by the model's name."""
    kind = _call(stated, model)
    return "batch" if batch and kind in ASKABLE else kind


@lru_cache(maxsize=16_384)
def _call(stated: str | None, model: str | None) -> str:
    named = (stated or (model or "").rpartition("/")[2]).lower()
    for kind, words in _BY_WORD:
        if re.search(words, named):
            return kind
    return "completion" if stated and _COMPLETION.search(named) else "chat"
