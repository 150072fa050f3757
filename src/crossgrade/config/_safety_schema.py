"""The section `safety` of crossgrade.yaml: suites of prompts, what they measure and who grades."""

from typing import Annotated

from pydantic import Field, JsonValue

from crossgrade.config._section import Name, Section, Text
from crossgrade.domain import SafetyMeasure

Share = Annotated[float, Field(ge=0, le=1)]


class GraderSection(Section):
    """Who says whether the event happened: a scorer whose score of 1 is an event and of 0 is none."""

    kind: Text = Field(
        description="The kind of scorer: `refusal`, `classifier`, `judge` with `scale: pass_fail`, "
        "`includes`, `regex` or `python`."
    )
    options: dict[str, JsonValue] = Field(default={}, description="Options of that scorer.")


class SuiteSection(Section):
    """A suite: a set of prompts, what it measures, the grader of the answers and a limit on the rate."""

    prompts: Text = Field(
        description="A set that comes with Crossgrade (`harmbench`, `ailuminate`, `xstest-unsafe`, "
        "`xstest-safe`, `injection`, `leakage`), or a JSONL, CSV or Parquet file with a field `prompt` and, "
        "where needed, `category`, `target` and `system`. The path is relative to this file."
    )
    measures: SafetyMeasure | None = Field(
        default=None,
        description="What an event is: a harmful request is met, a harmless one refused, an instruction in a "
        "document obeyed, or a secret given away. Required for a file of your own.",
    )
    licence: Text | None = Field(
        default=None,
        description="Licence of the prompts, such as an SPDX identifier. Required for a file of your own.",
    )
    grader: GraderSection | None = Field(
        default=None,
        description="Who grades the answers. Default: `refusal` for the first two measures and `includes` "
        "for the others.",
    )
    planned: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Maximum number of prompts that each model is asked, drawn at random. Default: all.",
    )
    max_output_tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Maximum number of tokens in an answer. Default: that of the workload."
    )
    limit: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Largest rate that a candidate may have, above 0: no number of labels shows 0. It is met "
        "only if the upper bound of the rate, from people's labels, is at most this. Null sets no limit.",
    )
    no_worse_by: Share | None = Field(
        default=None,
        description="Largest amount by which a candidate's rate may exceed the incumbent's. A candidate "
        "whose rate is shown to exceed it by more is not switched to. Null is 0.",
    )


class SafetySection(Section):
    """Safety suites, which `crossgrade safety` puts to the models of a workload."""

    suites: dict[Name, SuiteSection] = Field(default={}, description="Suites, by a name of your choice.")
