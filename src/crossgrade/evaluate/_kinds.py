"""The table of scorers: every kind with its options, and how one is built from its spec."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from crossgrade.domain import JSON, ModelAnswer, Reason, ScorerSpec
from crossgrade.errors import ConfigError, hint_among
from crossgrade.evaluate._sandbox import require_sandbox
from crossgrade.evaluate.classifiers import ClassifierOptions, classifier
from crossgrade.evaluate.judges import (
    PAIRWISE,
    RUBRIC,
    PairwiseOptions,
    RubricOptions,
    pairwise,
    rubric,
)
from crossgrade.evaluate.scorers import (
    AskModel,
    ChoiceOptions,
    CodeOptions,
    CodeScorer,
    CostOf,
    EmbedTexts,
    ExactOptions,
    F1Options,
    Function,
    Grade,
    IncludesOptions,
    JsonFieldsOptions,
    JsonSchemaOptions,
    Means,
    NumericOptions,
    Options,
    PairScorer,
    PythonOptions,
    PythonScorer,
    RefusalOptions,
    RegexOptions,
    RewardOptions,
    RewardScorer,
    Scorer,
    SimilarityOptions,
    SimilarityScorer,
    TextScorer,
    choice,
    decode_options,
    digest_of,
    exact,
    f1,
    includes,
    json_fields,
    json_schema,
    load_function,
    numeric,
    refusal,
    regex,
    text_or_arguments,
)

Build: TypeAlias = Callable[[str, Any, Means], "Scorer | PairScorer"]
Need: TypeAlias = Literal["ask", "embed", "plugins", "sandbox"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerKind:
    """One kind of scorer, as documentation and configuration need it.

    `version` increases whenever the same answer may get another score; it is part of the digest.
    `needs` names what the kind uses beyond its options. `pair` says that it scores two answers against
    each other, `target` that it reads the sample's target. `build(digest, options, means)` makes the scorer,
    under the digest that it is given. `texts` are part of the digest: prompts, or whatever else a score
    depends on.
    """

    name: str
    summary: str
    options: type[Options]
    build: Build
    version: int = 1
    needs: tuple[Need, ...] = ()
    pair: bool = False
    target: bool = True
    texts: tuple[str, ...] = ()

    @property
    def asks_model(self) -> bool:
        """Whether a model scores: a judge, or one that embeds texts."""
        return not {"ask", "embed"}.isdisjoint(self.needs)


def _plain(
    name: str,
    summary: str,
    options: type[Options],
    grader: Callable[[Any], Grade],
    *,
    target: bool = True,
    read: Callable[[ModelAnswer], str] = attrgetter("text"),
) -> ScorerKind:
    """Return the kind of a scorer that only reads the answer's text."""

    def build(digest: str, given: Any, _: Means) -> Scorer:
        return TextScorer(kind=name, digest=digest, grade=grader(given), read=read)

    return ScorerKind(name=name, summary=summary, options=options, build=build, target=target)


def _code(digest: str, options: CodeOptions, _: Means) -> Scorer:
    if not options.unsandboxed:
        require_sandbox()
    return CodeScorer(kind="code", digest=digest, options=options)


def _reward(digest: str, _options: RewardOptions, _means: Means) -> Scorer:
    return RewardScorer(kind="reward", digest=digest)


def _similarity(digest: str, options: SimilarityOptions, means: Means) -> Scorer:
    assert means.embed is not None
    return SimilarityScorer(kind="similarity", digest=digest, options=options, embed=means.embed)


def _python(digest: str, options: PythonOptions, means: Means) -> Scorer:
    function, source = load_function(options.function, means)
    # An edited function is another scorer.
    digest = digest_of(digest, source)
    return PythonScorer(kind="python", digest=digest, options=options, function=function)


_KINDS: tuple[ScorerKind, ...] = (
    _plain("exact", "The answer is the target.", ExactOptions, exact),
    _plain("includes", "The answer contains the target.", IncludesOptions, includes),
    _plain("regex", "What a pattern captures is the target.", RegexOptions, regex),
    _plain("numeric", "The answer ends on the target's number.", NumericOptions, numeric),
    _plain("choice", "The answer picks the target's letter.", ChoiceOptions, choice),
    _plain("f1", "The answer shares its words with the target.", F1Options, f1),
    _plain(
        "json_schema", "The answer is JSON valid under a schema.", JsonSchemaOptions, json_schema,
        read=text_or_arguments, target=False,
    ),
    _plain(
        "json_fields", "The answer is JSON with the target's values.", JsonFieldsOptions, json_fields,
        read=text_or_arguments,
    ),
    _plain("refusal", "The answer opens like a refusal, or does not.", RefusalOptions, refusal, target=False),
    ScorerKind(
        name="code", summary="The answer is a Python function that passes its tests.",
        options=CodeOptions, build=_code, needs=("sandbox",), target=False,
    ),
    ScorerKind(
        name="reward", summary="A task's tests give the reward of an agent's trial.",
        options=RewardOptions, build=_reward, target=False,
    ),
    ScorerKind(
        name="similarity", summary="The answer means what the target means, by embeddings.",
        options=SimilarityOptions, build=_similarity, needs=("embed",),
    ),
    ScorerKind(
        name="python", summary="Any function of yours.",
        options=PythonOptions, build=_python, needs=("plugins",), target=False,
    ),
    ScorerKind(
        name="judge", summary="A model grades the answer by your criteria.",
        options=RubricOptions, build=rubric, needs=("ask",), target=False, texts=(RUBRIC,),
    ),
    ScorerKind(
        name="pairwise", summary="A model says which of the two answers is better, in both orders.",
        options=PairwiseOptions, build=pairwise, needs=("ask",), pair=True, target=False, texts=(PAIRWISE,),
    ),
    ScorerKind(
        name="classifier", summary="A classifier says whether the answer is unsafe.",
        options=ClassifierOptions, build=classifier, needs=("ask",), target=False,
    ),
)  # fmt: skip
SCORERS: Mapping[str, ScorerKind] = {kind.name: kind for kind in _KINDS}
"""Every built-in kind of scorer by name."""


def scorer_kinds() -> Mapping[str, ScorerKind]:
    """Return every kind of scorer by name."""
    return dict(SCORERS)


def scorer_kind(name: str, kinds: Mapping[str, ScorerKind] = SCORERS) -> ScorerKind:
    """Return a kind of scorer, one of `kinds`. Raises `ConfigError`, naming the closest, if none matches."""
    if name not in kinds:
        raise ConfigError(
            f"there is no scorer `{name}`",
            code="scorer-unknown",
            where="kind",
            hint=hint_among(name, kinds),
        )
    return kinds[name]


def lacks_live(spec: ScorerSpec, kinds: Mapping[str, ScorerKind] = SCORERS) -> Reason | None:
    """Return what a scorer needs that live traffic does not have, or None. Raises as `scorer_kind` does."""
    kind = scorer_kind(spec.kind, kinds)
    if kind.target or spec.options.get("show_target"):
        return Reason(
            "needs-reference",
            f"scorer `{kind.name}` compares with a reference answer, which live traffic does not have",
        )
    if kind.name == "code":
        return Reason("needs-tests", "scorer `code` runs a sample's tests, which live traffic does not have")
    if kind.name == "reward":
        return Reason(
            "needs-tests", "scorer `reward` reads what a task's tests gave, which live traffic lacks"
        )
    return None


def validate_options(
    kind: str, options: Mapping[str, JSON], kinds: Mapping[str, ScorerKind] = SCORERS
) -> None:
    """Raise `ConfigError`, with `where` set to the option, unless the scorer takes these options."""
    decode_options(kind, scorer_kind(kind, kinds).options, options)


def options_schema(kind: str) -> dict[str, Any]:
    """Return the JSON schema of a scorer's options, for editors and documentation."""
    return msgspec.json.schema(scorer_kind(kind).options)


def build_scorer(
    spec: ScorerSpec,
    *,
    ask: AskModel | None = None,
    embed: EmbedTexts | None = None,
    cost_of: CostOf | None = None,
    plugins: bool = True,
    project_dir: Path | None = None,
    kinds: Mapping[str, ScorerKind] = SCORERS,
    functions: Mapping[str, Function] | None = None,
) -> Scorer | PairScorer:
    """Return the scorer that a workload names.

    `ask` is needed by judges and `embed` by `similarity`; `cost_of` prices a judge's answers
    (without it their cost is unknown). `plugins` allows functions to be imported for `python`,
    from `project_dir` too. `kinds` are those that are known, `functions` the ones that `python` may name
    without a module. Raises `ConfigError` for an unknown kind, wrong options, or a need
    that is not met, and `SandboxError` for `code` where there is no bubblewrap.
    """
    kind = scorer_kind(spec.kind, kinds)
    options = decode_options(spec.kind, kind.options, spec.options)
    for need, given in (("ask", ask), ("embed", embed)):
        if need in kind.needs and given is None:
            raise ConfigError(
                f"scorer `{kind.name}` asks the offer `{getattr(options, 'model', '')}`, which is not there",
                code="scorer-model-missing",
                where="options.model",
                hint="name an offer of this project as `model`",
            )
    digest = digest_of(kind.name, kind.version, msgspec.to_builtins(options), kind.texts)
    means = Means(
        ask=ask,
        embed=embed,
        cost_of=cost_of,
        plugins=plugins,
        project_dir=project_dir,
        functions=functions or {},
    )
    return kind.build(digest, options, means)
