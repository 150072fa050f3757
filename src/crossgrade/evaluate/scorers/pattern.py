"""`regex`: what a pattern captures is compared with the target.

Patterns run on RE2 (the `google-re2` package), whose time is linear in the text whatever the
pattern, because the texts come from models: Python's own engine backtracks, and a time limit
(as in the `regex` package) would let a score depend on how busy the machine was. The price
is that RE2 has no look-around and no back-references; a pattern that uses them is refused
when the configuration is read.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta

from crossgrade.domain import Sample, Score
from crossgrade.errors import ConfigError
from crossgrade.evaluate.scorers._contract import Grade, graded, unparsed
from crossgrade.evaluate.scorers._options import Options, references
from crossgrade.evaluate.scorers._text import normalise

LONGEST_PATTERN = 10_000


class RegexOptions(Options, frozen=True):
    """Options of `regex`."""

    pattern: Annotated[
        str,
        Meta(
            description="An RE2 pattern (no look-around, no back-references). The scorer reads its first "
            "group, or the whole match if it has no group.",
            min_length=1,
            max_length=LONGEST_PATTERN,
        ),
    ]
    take: Annotated[Literal["first", "last"], Meta(description="Which of several matches counts.")] = "last"
    ignore_case: Annotated[bool, Meta(description="Ignore case in matching and comparing.")] = True
    compare: Annotated[
        Literal["target", "match"],
        Meta(
            description="`target`: 1 if the text read equals a target, and unparsed without a match. "
            "`match`: 1 if the pattern matches, otherwise 0, and no target is needed."
        ),
    ] = "target"

    def __post_init__(self) -> None:
        """Refuse a pattern that RE2 does not understand."""
        try:
            compile_pattern(self.pattern)
        except ConfigError as error:
            raise ValueError(error.message) from error


def compile_pattern(pattern: str, *, ignore_case: bool = False) -> Any:
    """Compile a pattern for the linear-time engine. Raises `ConfigError` if it cannot be."""
    import re2  # type: ignore[import-untyped]  # the package ships no types

    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        cause = error.args[0].decode(errors="replace") if error.args else "not understood"
        raise ConfigError(
            f"pattern {pattern[:80]!r}: {cause}",
            code="pattern-invalid",
            hint="patterns are RE2's: no look-around, no back-references; capture a group instead",
        ) from error


def regex(options: RegexOptions) -> Grade:
    """Return the grader: 1 if what the pattern captures equals a target, else 0."""
    pattern = compile_pattern(options.pattern, ignore_case=options.ignore_case)

    def same(text: str) -> str:
        return normalise(text, ignore_case=options.ignore_case)

    def read(text: str) -> str | None:
        last = None
        for match in pattern.finditer(text):
            last = match
            if options.take == "first":
                break
        if last is None:
            return None
        return (last.group(1) if pattern.groups else last.group()) or ""

    def grade(sample: Sample, text: str) -> Score:
        if options.compare == "match":
            found = read(text)
            return graded(found is not None, found or "")
        wanted = {same(reference) for reference in references("regex", sample)}
        found = read(text)
        if found is None:
            return unparsed("the pattern does not match")
        return graded(same(found) in wanted, found)

    return grade
