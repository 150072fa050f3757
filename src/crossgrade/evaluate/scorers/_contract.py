"""What a scorer is: from a sample and an answer to a `Score`, with a digest that names how."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec

from crossgrade.domain import JSON, ModelAnswer, ModelRequest, Sample, Score
from crossgrade.evaluate.scorers._text import considered


class AskModel(Protocol):
    """Asks a model; a judge's `ModelRequest.model` is the name of the offer in the judge's options."""

    def __call__(
        self, request: ModelRequest, /, *, is_usable: Callable[[ModelAnswer], bool] | None = None
    ) -> Awaitable[ModelAnswer]:
        """Ask. An earlier answer to the same question is taken if it is usable."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of some texts, in order, and what they cost now in US dollars, None if unknown."""

    vectors: Sequence[Sequence[float]]
    cost_usd: Decimal | None


EmbedTexts: TypeAlias = Callable[[str, Sequence[str]], Awaitable[Embedded]]
"""Embeds some texts by the offer of that name."""

CostOf: TypeAlias = Callable[[str, ModelAnswer], Decimal | None]
"""What one answer of the offer of that name cost in US dollars; None is unknown."""

Grade: TypeAlias = Callable[[Sample, str], Score]
"""Scores a text that was cut to what is considered; never raises on the text, whatever it is."""


class Scorer(Protocol):
    """Scores one answer by itself.

    Nothing a model writes makes `score` raise: what cannot be read is `unparsed`. It raises
    `DataError` when the *sample* lacks what the scorer needs, and does so before it looks at
    the answer, so that scoring a blank answer checks a sample at no cost.
    """

    @property
    def kind(self) -> str:
        """The scorer's kind, as written in the configuration."""

    @property
    def digest(self) -> str:
        """SHA-256 of kind, version and every option: equal digests give equal scores."""

    async def score(self, sample: Sample, answer: ModelAnswer) -> Score:
        """Score one answer."""


class PairScorer(Protocol):
    """Scores the two answers to a sample against each other."""

    @property
    def kind(self) -> str:
        """The scorer's kind, as written in the configuration."""

    @property
    def digest(self) -> str:
        """SHA-256 of kind, version and every option: equal digests give equal scores."""

    async def score_pair(
        self, sample: Sample, incumbent: ModelAnswer, candidate: ModelAnswer
    ) -> tuple[Score, Score]:
        """Score the incumbent's and the candidate's answer, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a scorer may use beyond its options; None if the caller has none.

    `plugins` allows functions named in the configuration to be imported, from `project_dir`
    too where it is given. `functions` are those that plugins register, by name.
    """

    ask: AskModel | None = None
    embed: EmbedTexts | None = None
    cost_of: CostOf | None = None
    plugins: bool = True
    project_dir: Path | None = None
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScorer:
    """A scorer that only reads the answer's text."""

    kind: str
    digest: str
    grade: Grade
    read: Callable[[ModelAnswer], str] = attrgetter("text")

    async def score(self, sample: Sample, answer: ModelAnswer) -> Score:
        """Score one answer by its text."""
        return self.grade(sample, considered(self.read(answer)))


def unparsed(explanation: str) -> Score:
    """Return the score of an answer in which nothing could be found: 0, marked as unparsed."""
    return Score(value=0.0, unparsed=True, explanation=explanation)


def graded(value: float, extracted: str, explanation: str | None = None) -> Score:
    """Return a score in [0, 1] with what was read from the answer."""
    return Score(value=float(value), extracted=extracted[:1000], explanation=explanation)


def digest_of(*parts: JSON | msgspec.Struct) -> str:
    """Return the SHA-256 (hexadecimal) of JSON-able parts, independent of the order of keys."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()
