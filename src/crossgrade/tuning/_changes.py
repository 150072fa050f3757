"""What is tried: changes of layout, instruction, examples and output constraint, and their mixtures.

A change belongs to one dimension. A first generation has the prompt as it was and single changes, the
plainest ones of every dimension first. A second one mixes the changes that did best in theirs. How many there
are is set beforehand and the order is fixed, so that a search that was interrupted tries the same variants
again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, zip_longest
from typing import Literal, TypeAlias

from crossgrade.domain import JSON, PLACEHOLDER, GenerationSettings, Sample, ScorerSpec, Variant
from crossgrade.tuning._drafts import Draft, draft_of, may_be_shown
from crossgrade.workloads.files import as_text

Dimension: TypeAlias = Literal["layout", "instruction", "examples", "constraint"]

DIMENSIONS: tuple[Dimension, ...] = ("layout", "instruction", "examples", "constraint")
"""In the order in which changes of a mixture are made: what comes later stands in what came before."""

MOST_LABELS = 20
SHOTS = (4, 8, 2)
_FIRST_GENERATION = 0.7
_LONGEST_LABEL = 60
_SHORT_ANSWER_TOKENS = 16
_BYTES_PER_TOKEN = 2
_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\t": "\\t", "\r": "\\r"})
_JSON_SCORERS = frozenset({"json_schema", "json_fields"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a draft: its dimension, its name in words, and what it makes of a draft.

    `read` are the ids of samples that whoever wrote the change has read.
    """

    dimension: Dimension
    name: str
    make: Callable[[Draft], Draft]
    read: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A variant that is tried: number 0 is the one as it was, the others have changes.

    `examples` are the ids of samples that stand in its prompt, or that the author of an instruction has read.
    """

    number: int
    variant: Variant
    changes: tuple[Change, ...] = ()
    examples: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What was changed, in words."""
        return ", ".join(each.name for each in self.changes) or "as it was"


@dataclass(slots=True, kw_only=True)
class PromptSpace:
    """The variants of a prompt that a search tries.

    `pool` are labelled development items that may stand in prompts as examples; they score nothing.
    `instructions` are the user's own, or another model's. With `takes_grammar` the model's host binds answers
    to a grammar. At most `most` variants are tried in all.
    """

    base: Draft
    scorer: ScorerSpec
    targets: Sequence[JSON]
    pool: Sequence[Sample] = ()
    instructions: Sequence[str] = ()
    takes_grammar: bool = False
    most: int = 20
    _known: dict[object, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        variant: Variant,
        telling: Sequence[str],
        *,
        scorer: ScorerSpec,
        targets: Sequence[JSON],
        pool: Sequence[Sample] = (),
        instructions: Sequence[str] = (),
        takes_grammar: bool = False,
        most: int = 20,
    ) -> "PromptSpace":
        """Return the space around a variant; `telling` are the fields that tell samples apart."""
        return cls(
            base=draft_of(variant, telling),
            scorer=scorer,
            targets=targets,
            pool=[sample for sample in pool if may_be_shown(sample, telling)],
            instructions=instructions,
            takes_grammar=takes_grammar,
            most=most,
        )

    def first(self) -> list[Tried]:
        """Return the variant as it was, and single changes of it, each dimension in turn."""
        found = [Tried(number=0, variant=self.base.assembled())]
        self._known[_key(found[0].variant)] = 0
        wanted = max(2, round(_FIRST_GENERATION * self.most))
        columns = [list(self._changes(dimension)) for dimension in DIMENSIONS]
        for change in (each for row in zip_longest(*columns) for each in row if each is not None):
            if len(found) == wanted:
                break
            self._add(found, (change,))
        return found

    def mixtures(self, gains: Mapping[int, float], tried: Sequence[Tried]) -> list[Tried]:
        """Return mixtures of the best change of each dimension that did no worse than the variant as it was.

        `gains` says by how much each variant of `tried` did better, by number. Mixtures of more dimensions
        come first.
        """
        best: dict[Dimension, tuple[float, Change]] = {}
        for each in tried:
            gain = gains.get(each.number, -1.0)
            if len(each.changes) == 1 and gain >= 0:
                change = each.changes[0]
                if change.dimension not in best or gain > best[change.dimension][0]:
                    best[change.dimension] = gain, change
        chosen = [best[name][1] for name in DIMENSIONS if name in best]
        found: list[Tried] = []
        for size in range(len(chosen), 1, -1):
            ranked = sorted(
                combinations(chosen, size), key=lambda some: -sum(best[each.dimension][0] for each in some)
            )
            for some in ranked:
                if len(self._known) >= self.most:
                    return found
                self._add(found, some)
        return found

    def with_instruction(self, text: str, on: Tried) -> Variant:
        """Return a variant of another one, with an instruction instead of those that its changes added."""
        draft = self._made([each for each in on.changes if each.dimension != "instruction"])
        return _adding(text)(draft).assembled()

    def instructed(self, text: str, on: Tried, name: str, *, read: Sequence[str] = ()) -> list[Tried]:
        """Return a variant of another one with this instruction, unless it is tried already.

        `read` are the ids of samples that its author has read.
        """
        others = [each for each in on.changes if each.dimension != "instruction"]
        own = Change(dimension="instruction", name=name, make=_adding(text), read=tuple(read))
        found: list[Tried] = []
        order = DIMENSIONS.index
        self._add(found, tuple(sorted((*others, own), key=lambda each: order(each.dimension))))
        return found

    def _made(self, changes: Sequence[Change]) -> Draft:
        draft = self.base
        for change in changes:
            draft = change.make(draft)
        return draft

    def _add(self, found: list[Tried], changes: tuple[Change, ...]) -> None:
        """Add the variant with these changes, unless they change nothing that is not tried already."""
        draft = self._made(changes)
        variant = draft.assembled()
        number = len(self._known)
        if self._known.setdefault(_key(variant), number) == number:
            shown = [sample.id for sample in draft.shots]
            read = [each for change in changes for each in change.read]
            examples = tuple(dict.fromkeys((*shown, *read)))
            found.append(Tried(number=number, variant=variant, changes=changes, examples=examples))

    def _changes(self, dimension: Dimension) -> Iterator[Change]:
        makers: Mapping[Dimension, Callable[[], Iterator[tuple[str, Callable[[Draft], Draft]]]]] = {
            "layout": self._layouts,
            "instruction": self._instructions,
            "examples": self._examples,
            "constraint": self._constraints,
        }
        for name, make in makers[dimension]():
            yield Change(dimension=dimension, name=name, make=make)

    def _layouts(self) -> Iterator[tuple[str, Callable[[Draft], Draft]]]:
        base = self.base
        if base.text:
            yield "as a chat", lambda draft: replace(draft, text=False)
            if base.head.strip():
                yield "as a chat with a system message", _system_of_head
            return
        if base.system:
            yield "system message in the user's", _system_into_user
        elif base.head.strip():
            yield "instruction as system message", _system_of_head
        yield "input between tags", _tagged
        if (base.system or base.head.strip()) and not PLACEHOLDER.search(base.head + (base.system or "")):
            yield "instruction again at the end", lambda draft: replace(draft, place="end")

    def _instructions(self) -> Iterator[tuple[str, Callable[[Draft], Draft]]]:
        for place, text in enumerate(self.instructions, 1):
            yield f"instruction {place} of yours", _adding(text)
        labels = self.labels()
        if labels:
            listed = ", ".join(labels)
            yield (
                "labels listed",
                _adding(f"Answer with exactly one of these labels and nothing else: {listed}."),
            )
            yield "labels listed briefly", _adding(f"Labels: {listed}")
        yield "answer alone", _adding("Give only the answer, without an explanation.")
        yield "form of the examples", _adding("Answer in exactly the form of the correct answers.")

    def _examples(self) -> Iterator[tuple[str, Callable[[Draft], Draft]]]:
        balanced = _balanced(self.pool)
        for n in SHOTS:
            if len(balanced) >= n:
                yield f"{n} examples", _showing(balanced[:n])
        if PLACEHOLDER.search(self.base.head) and len(balanced) >= SHOTS[0]:
            n = min(len(balanced), SHOTS[1])
            yield f"{n} examples instead of its own", _showing(balanced[:n], without_head=True)
        if len(balanced) >= 2 * SHOTS[0]:
            yield f"{SHOTS[0]} other examples", _showing(balanced[SHOTS[0] : 2 * SHOTS[0]])

    def _constraints(self) -> Iterator[tuple[str, Callable[[Draft], Draft]]]:
        longest = max((len((as_text(each) or "").encode()) for each in self.targets), default=0)
        one_line = all("\n" not in (as_text(each) or "") for each in self.targets)
        bound = self.base.schema is not None or self.base.grammar is not None
        labels = self.labels() if self.scorer.kind == "exact" else []
        if labels and self.takes_grammar and not bound:
            grammar = label_grammar(labels)
            yield "labels as a grammar", lambda draft: replace(draft, grammar=grammar)
        if not bound and (schema := self._schema()) is not None:
            yield "a schema for the answer", lambda draft: replace(draft, text=False, schema=schema)
        if self.targets and one_line and self.scorer.kind not in _JSON_SCORERS:
            tokens = _SHORT_ANSWER_TOKENS + longest // _BYTES_PER_TOKEN
            yield "one line", lambda draft: replace(draft, settings=_one_line(draft, tokens))

    def labels(self) -> list[str]:
        """Return the closed set of answers, empty if the targets are none: many, long or not repeated."""
        options = self.scorer.options.get("labels")
        if isinstance(options, Sequence) and not isinstance(options, str) and options:
            return [str(each) for each in options]
        texts = [each for each in self.targets if isinstance(each, str)]
        found = sorted(set(texts))
        few = len(found) <= MOST_LABELS and 3 * len(found) <= len(texts)
        short = all(
            len(each) <= _LONGEST_LABEL and "\n" not in each and not PLACEHOLDER.search(each)
            for each in found
        )
        return found if texts and len(texts) == len(self.targets) and few and short else []

    def _schema(self) -> JSON:
        """Return a JSON schema of the answers, None if the scorer reads no JSON and there are no labels."""
        options = self.scorer.options
        if self.scorer.kind == "json_schema":
            return options.get("schema")
        if self.scorer.kind == "json_fields":
            return _schema_of(self.targets)
        labels = self.labels() if self.scorer.kind == "exact" else []
        return {"type": "string", "enum": labels} if labels else None


def label_grammar(labels: Sequence[str]) -> str:
    """Return a grammar in GBNF of one of these labels, after a blank or none."""
    quoted = " | ".join(f'"{label.translate(_ESCAPED)}"' for label in labels)
    return f'root ::= " "? ({quoted})'


def _key(variant: Variant) -> object:
    return (repr(variant.prompt), variant.settings)


def _system_of_head(draft: Draft) -> Draft:
    system = "\n\n".join(filter(None, (draft.system, draft.head.strip())))
    return replace(draft, text=False, head="", system=system, place="system")


def _system_into_user(draft: Draft) -> Draft:
    return replace(draft, system=None, head=f"{draft.system}\n\n{draft.head}", place="user")


def _tagged(draft: Draft) -> Draft:
    return replace(draft, tagged=tuple(dict.fromkeys(PLACEHOLDER.findall(draft.item))))


def _adding(text: str) -> Callable[[Draft], Draft]:
    return lambda draft: replace(draft, added=(*draft.added, text))


def _showing(shots: Sequence[Sample], *, without_head: bool = False) -> Callable[[Draft], Draft]:
    def make(draft: Draft) -> Draft:
        head = PLACEHOLDER.sub("", draft.head) if without_head else draft.head
        system = draft.system
        if without_head and system is not None:
            system = PLACEHOLDER.sub("", system).strip() or None
        return replace(draft, head=head, system=system, shots=tuple(shots))

    return make


def _one_line(draft: Draft, tokens: int) -> GenerationSettings:
    most = draft.settings.max_output_tokens
    return replace(
        draft.settings,
        stop=tuple(dict.fromkeys((*draft.settings.stop, "\n"))),
        max_output_tokens=tokens if most is None else min(most, tokens),
    )


def _balanced(pool: Sequence[Sample]) -> list[Sample]:
    """Return the pool in an order in which every target comes equally often from the start."""
    by_target: dict[str, list[Sample]] = {}
    for sample in pool:
        by_target.setdefault(as_text(sample.target) or "", []).append(sample)
    rows = zip_longest(*by_target.values())
    return [sample for row in rows for sample in row if sample is not None]


def _schema_of(targets: Sequence[JSON]) -> JSON:
    """Return the schema of objects that all have the same fields of the same plain types, None otherwise."""
    shapes = {
        tuple((name, _type(value)) for name, value in sorted(each.items()))
        for each in targets
        if isinstance(each, Mapping)
    }
    if len(shapes) != 1 or not all(isinstance(each, Mapping) for each in targets):
        return None
    (shape,) = shapes
    if any(kind is None for _, kind in shape):
        return None
    return {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in shape},
        "required": [name for name, _ in shape],
        "additionalProperties": False,
    }


def _type(value: JSON) -> str | None:
    kinds = {bool: "boolean", str: "string", int: "number", float: "number"}
    return kinds.get(type(value))
