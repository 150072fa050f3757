"""Scorers: from what a model wrote to a score in [0, 1]."""

from crossgrade.evaluate.scorers._contract import (
    AskModel,
    CostOf,
    Embedded,
    EmbedTexts,
    Grade,
    Means,
    PairScorer,
    Scorer,
    TextScorer,
    digest_of,
    graded,
    unparsed,
)
from crossgrade.evaluate.scorers._json import NoJsonError, parse_json
from crossgrade.evaluate.scorers._options import (
    Options,
    bad_sample,
    decode_options,
    references,
    text_of,
)
from crossgrade.evaluate.scorers._text import considered, normalise
from crossgrade.evaluate.scorers.choice import ChoiceOptions, choice
from crossgrade.evaluate.scorers.code import CodeOptions, CodeScorer
from crossgrade.evaluate.scorers.exact import ExactOptions, IncludesOptions, exact, includes
from crossgrade.evaluate.scorers.numeric import NumericOptions, numeric
from crossgrade.evaluate.scorers.pattern import RegexOptions, regex
from crossgrade.evaluate.scorers.python import Function, PythonOptions, PythonScorer, load_function
from crossgrade.evaluate.scorers.refusal import REFUSAL_OPENINGS, RefusalOptions, refusal
from crossgrade.evaluate.scorers.reward import RewardedTrial, RewardOptions, RewardScorer, read_trial
from crossgrade.evaluate.scorers.similarity import F1Options, SimilarityOptions, SimilarityScorer, f1
from crossgrade.evaluate.scorers.structured import (
    JsonFieldsOptions,
    JsonSchemaOptions,
    json_fields,
    json_schema,
    text_or_arguments,
)

__all__ = [
    "REFUSAL_OPENINGS",
    "AskModel",
    "ChoiceOptions",
    "CodeOptions",
    "CodeScorer",
    "CostOf",
    "EmbedTexts",
    "Embedded",
    "ExactOptions",
    "F1Options",
    "Function",
    "Grade",
    "IncludesOptions",
    "JsonFieldsOptions",
    "JsonSchemaOptions",
    "Means",
    "NoJsonError",
    "NumericOptions",
    "Options",
    "PairScorer",
    "PythonOptions",
    "PythonScorer",
    "RefusalOptions",
    "RegexOptions",
    "RewardOptions",
    "RewardScorer",
    "RewardedTrial",
    "Scorer",
    "SimilarityOptions",
    "SimilarityScorer",
    "TextScorer",
    "bad_sample",
    "choice",
    "considered",
    "decode_options",
    "digest_of",
    "exact",
    "f1",
    "graded",
    "includes",
    "json_fields",
    "json_schema",
    "load_function",
    "normalise",
    "numeric",
    "parse_json",
    "read_trial",
    "references",
    "refusal",
    "regex",
    "text_of",
    "text_or_arguments",
    "unparsed",
]
