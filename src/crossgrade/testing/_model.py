"""A made-up model that a fake provider plays: it answers as a host would, with faults if told to."""

import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crossgrade.domain import ToolCall
from crossgrade.testing._script import Fault, ReceivedRequest, Reply

_TEXT = """
the harbour lies in the north and boats come home at night with fish and salt while people walk along a quiet
street to buy bread from an old woman who tells stories of storms
"""
_WORDS = _TEXT.split()
_LONGEST = 24
_FACT = re.compile(r"The access code of the (\w+) gate is (\d+)\.")
_ASKED = re.compile(r"What is the access code of the (\w+) gate\?")
_ORDER = re.compile(r"order ([A-Z]-\d+)")
_CITY = re.compile(r"(\w+) lies on the coast and has (\d+) inhabitants")


@dataclass
class FakeModel:
    """The script of a host that serves a model, for checks whether it is still the same one.

    `weights` are any text, or a file with it that is read at each call: with another text it is another
    model. `frame` are the tokens that the chat template adds to each message, `cut` the most tokens that are
    read of a prompt. With `drops_tools` tools are left out, and with `frozen` temperature is ignored.
    `miscounts` is what reported counts are multiplied by, `version` the model that answers name, and `fault`
    what comes instead of every answer. `calls` counts the requests.
    """

    weights: str | Path = "1"
    frame: int = 4
    cut: int | None = None
    drops_tools: bool = False
    frozen: bool = False
    miscounts: float = 1.0
    version: str | None = None
    fault: Fault | None = None
    calls: int = 0
    _noise: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311  # words, not secrets

    def __call__(self, request: ReceivedRequest) -> Reply | Fault:
        """Answer a request of OpenAI's API for chat completions."""
        self.calls += 1
        asked: Any = request.json
        if self.fault is not None:
            return self.fault
        tools = bool(asked.get("tools")) and not self.drops_tools
        words = "\n".join(str(each.get("content")) for each in asked["messages"]).split(" ")
        kept = words if self.cut is None else words[-self.cut :]
        tokens = len(kept) + self.frame * len(asked["messages"]) + 60 * tools
        text, calls = self._said(" ".join(kept), asked, tools=tools)
        return Reply(
            text,
            tool_calls=calls,
            input_tokens=int(tokens * self.miscounts),
            output_tokens=max(1, len(text.split())),
            served=self.version,
        )

    def _said(self, text: str, asked: dict[str, Any], *, tools: bool) -> tuple[str, tuple[ToolCall, ...]]:
        """Return what the model says, and the tools that it calls."""
        if (gate := _ASKED.search(text)) is not None:
            return dict(_FACT.findall(text)).get(gate[1], "I do not know."), ()
        if text.startswith("Copy this line"):
            return text.partition("\n")[2], ()
        if tools and (order := _ORDER.search(text)):
            return "", (ToolCall(id="1", name="find_order", arguments=f'{{"number": "{order[1]}"}}'),)
        if asked.get("response_format") and (city := _CITY.search(text)):
            return f'{{"city": "{city[1]}", "inhabitants": {city[2]}, "coastal": true}}', ()
        said = self._words(text, asked)
        for stop in asked.get("stop") or ():
            said = said.partition(stop)[0]
        return said, ()

    def _words(self, text: str, asked: dict[str, Any]) -> str:
        """Return words as the weights prefer them: always the same ones at temperature 0, or with a seed."""
        weights = self.weights.read_text(encoding="utf-8") if isinstance(self.weights, Path) else self.weights
        steady = self.frozen or not asked.get("temperature") or asked.get("seed") is not None
        rng = random.Random(f"{text} {weights}") if steady else self._noise  # noqa: S311  # as above
        taste = random.Random(weights)  # noqa: S311  # as above
        likely = [taste.random() ** 2 for _ in _WORDS]
        return " ".join(rng.choices(_WORDS, likely, k=min(_LONGEST, asked.get("max_tokens") or _LONGEST)))
