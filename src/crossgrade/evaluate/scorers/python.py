"""`python`: any function, by the name of an entry point or as `module:function`."""

import hashlib
import importlib
import inspect
import math
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from crossgrade.domain import ModelAnswer, Sample, Score
from crossgrade.errors import ConfigError, CrossgradeError, DataError, hint_among
from crossgrade.evaluate.scorers._contract import Means
from crossgrade.evaluate.scorers._options import Options
from crossgrade.evaluate.scorers._text import considered

Returned: TypeAlias = "Score | float | bool | None"
Function: TypeAlias = Callable[..., "Returned | Awaitable[Returned]"]


class PythonOptions(Options, frozen=True):
    """Options of `python`."""

    function: Annotated[
        str,
        Meta(
            description="`module:function`, or a name that a package under `plugins` registers in the entry "
            "point group `crossgrade.scorers`. It is called as `function(sample, answer, **arguments)` "
            "and returns a number in [0, 1], a bool, a `Score`, or None for unscored. It may be async.",
            min_length=1,
        ),
    ]
    arguments: Annotated[dict[str, Any], Meta(description="Keyword arguments for the function.")] = (
        msgspec.field(default_factory=dict)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonScorer:
    """Scores with a user's function, which sees the answer without its reasoning.

    An exception of the function leaves the answer unscored, with its text as the explanation.
    A value outside [0, 1] raises `DataError`: every further one would be wrong too.
    """

    kind: str
    digest: str
    options: PythonOptions
    function: Function

    async def score(self, sample: Sample, answer: ModelAnswer) -> Score:
        """Score one answer."""
        answer = replace(answer, text=considered(answer.text))
        try:
            returned = self.function(sample, answer, **self.options.arguments)
            returned = await returned if inspect.isawaitable(returned) else returned
        except CrossgradeError:
            raise
        except Exception as error:  # noqa: BLE001  # a user's function may raise anything
            return Score(value=None, explanation=f"{type(error).__name__}: {error}"[:1000])
        return self._checked(returned, sample)

    def _checked(self, returned: Any, sample: Sample) -> Score:
        score = returned if isinstance(returned, Score) else Score(value=returned)
        value = score.value
        if value is None or value != value:  # noqa: PLR0124  # true of NaN only
            return replace(score, value=None)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not 0 <= number <= 1:
            raise DataError(
                f"scorer `{self.options.function}` returned {value!r:.80}; wanted a number in [0, 1] or None",
                code="score-invalid",
                line=sample.line,
                where=f"sample {sample.id!r}",
                hint="divide by the best possible score, so that 0 is worthless and 1 is best",
            )
        return replace(score, value=number)


def load_function(name: str, means: Means) -> tuple[Function, str]:
    """Return the function of that name with the digest of the source it was read from.

    Raises `ConfigError` if plugins are off, nothing has that name, or it is not callable.
    """
    if not means.plugins:
        raise ConfigError(
            f"scorer `python` would import {name!r}, but plugins are off",
            code="plugins-off",
            where="options.function",
            hint="allow plugins, or use a scorer that comes with Crossgrade",
        )
    with _importable(means.project_dir):
        function = _by_path(name) if ":" in name else _registered(name, means)
    if not callable(function):
        raise ConfigError(
            f"{name!r} is not a function",
            code="scorer-not-a-function",
            where="options.function",
            hint="name a function",
        )
    source = inspect.getsourcefile(inspect.unwrap(function)) if inspect.isroutine(function) else None
    return function, hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else ""


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    """Let modules in the project's folder be imported meanwhile."""
    if folder is None:
        yield
        return
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _by_path(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise ConfigError(
            f"scorer function {name!r} cannot be imported: {type(error).__name__}: {error}",
            code="scorer-import-failed",
            where="options.function",
            hint="write it as `module:function`, the module beside crossgrade.yaml or installed",
        ) from error


def _registered(name: str, means: Means) -> Any:
    if name not in means.functions:
        raise ConfigError(
            f"no package under `plugins` registers a scorer {name!r}",
            code="plugin-missing",
            where="options.function",
            hint=hint_among(name, means.functions)
            or "name its package under `plugins`, or a function as `module:function`",
        )
    return means.functions[name]
