"""`exact`, `includes`: the answer is, or contains, the target."""

import re
from typing import Annotated, Literal

from msgspec import Meta

from crossgrade.domain import Sample, Score
from crossgrade.evaluate.scorers._contract import Grade, graded, unparsed
from crossgrade.evaluate.scorers._options import Options, references
from crossgrade.evaluate.scorers._text import normalise

_BLANK = "the answer is blank"


class ExactOptions(Options, frozen=True):
    """Options of `exact`."""

    ignore_case: Annotated[bool, Meta(description="Treat upper and lower case alike.")] = True
    strip_punctuation: Annotated[
        bool, Meta(description="Ignore punctuation, quotes and Markdown emphasis at both ends.")
    ] = True
    labels: Annotated[
        tuple[str, ...],
        Meta(
            description="The closed set of answers. If an answer is not a label but mentions exactly one "
            "label as a whole word, it counts as that label. If it mentions none or several, it is "
            "unparsed."
        ),
    ] = ()


class IncludesOptions(Options, frozen=True):
    """Options of `includes`."""

    ignore_case: Annotated[bool, Meta(description="Treat upper and lower case alike.")] = True
    whole_words: Annotated[
        bool, Meta(description="Match whole words only, so that `cat` is not in `concatenate`.")
    ] = False
    match: Annotated[
        Literal["any", "all"], Meta(description="Whether the answer must contain all targets or any of them.")
    ] = "any"


def exact(options: ExactOptions) -> Grade:
    """Return the grader: 1 if the answer equals a target after normalisation, else 0."""

    def same(text: str) -> str:
        return normalise(text, ignore_case=options.ignore_case, strip_punctuation=options.strip_punctuation)

    labels = {same(label): label for label in options.labels}
    longest_first = sorted(labels, key=len, reverse=True)
    mention = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)") if labels else None

    def grade(sample: Sample, text: str) -> Score:
        wanted = {same(reference) for reference in references("exact", sample)}
        seen = same(text)
        if not seen:
            return unparsed(_BLANK)
        if mention is not None and seen not in labels:
            mentioned = set(mention.findall(seen))
            if len(mentioned) != 1:
                return unparsed("none of the labels" if not mentioned else "several of the labels")
            seen = mentioned.pop()
        return graded(seen in wanted, seen)

    return grade


def includes(options: IncludesOptions) -> Grade:
    """Return the grader: 1 if the answer contains a target (or, on request, all), else 0."""

    def same(text: str) -> str:
        return normalise(text, ignore_case=options.ignore_case, strip_punctuation=False)

    def found(reference: str, text: str) -> bool:
        if not options.whole_words:
            return reference in text
        return re.search(rf"(?<!\w){re.escape(reference)}(?!\w)", text) is not None

    def grade(sample: Sample, text: str) -> Score:
        wanted = [same(reference) for reference in references("includes", sample)]
        seen = same(text)
        if not seen:
            return unparsed(_BLANK)
        hits = [reference for reference in wanted if found(reference, seen)]
        enough = len(hits) == len(wanted) if options.match == "all" else bool(hits)
        return graded(enough, ", ".join(hits))

    return grade
