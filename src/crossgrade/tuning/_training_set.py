"""The examples that an adapter is trained on: labelled samples, or answers that the scorer accepted."""

import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from crossgrade.calls import canonical_json, digest
from crossgrade.domain import JSON, ModelRequest, Sample
from crossgrade.errors import DataError, UsageError
from crossgrade.tuning._base_model import TrainingSettings

FEWEST_EXAMPLES = 16
"""Examples below which no adapter is trained."""

LeftOutCause = Literal[
    "no answer", "answer not accepted", "near a certification item", "same prompt, other answer", "repeated"
]


class ChatTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a prompt."""

    role: str
    content: str


class TrainingExample(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt as the candidate is asked it, and the answer that it should give.

    `text` is a raw prompt, without it `messages` are a chat. `origin` says who answered: `label`, or the
    name of a teacher.
    """

    sample_id: str
    answer: str
    origin: str
    text: str | None = None
    messages: tuple[ChatTurn, ...] = ()

    @property
    def prompt(self) -> str:
        """Everything that the prompt says, as one text."""
        return self.text if self.text is not None else "\n".join(each.content for each in self.messages)


class TrainingOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be trained: the model's file, the examples, and the folder of the checkpoints.

    `stops` are what an answer ends with, of which the first is learned; without one, and for a chat, it is
    the model's own end of turn.
    """

    base: str
    examples: str
    folder: str
    settings: TrainingSettings
    stops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """The examples of a training, in the samples' order, and how many samples were left out and why.

    `leaked` are the ids of rows that were left out because they are, or are close to, certification items.
    """

    examples: tuple[TrainingExample, ...]
    left_out: Mapping[LeftOutCause, int] = field(default_factory=dict)
    leaked: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The SHA-256 of the examples."""
        return digest([msgspec.to_builtins(each) for each in self.examples])

    @property
    def origins(self) -> Mapping[str, int]:
        """How many examples each origin gave."""
        return dict(Counter(each.origin for each in self.examples))

    def jsonl(self) -> bytes:
        """Return the examples as the training reads them, one a line."""
        return b"".join(msgspec.json.encode(each) + b"\n" for each in self.examples)


def forget_examples(home: Path, samples: Collection[str]) -> dict[Path, int]:
    """Remove samples from the training sets in a folder of trainings; return what their weights learned.

    That is, by the adapter's path, how many of the samples a finished adapter was trained on. The adapter
    stays. A training that is not finished is removed with its checkpoints.
    """
    from crossgrade.workloads.files import whole_file

    decoder, learned = msgspec.json.Decoder(TrainingExample), {}
    for path in sorted(home.glob("*/examples.jsonl")):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if decoder.decode(line).sample_id not in samples]
        if len(kept) == len(lines):
            continue
        adapter = path.with_name("adapter.gguf")
        if not adapter.exists():
            shutil.rmtree(path.parent)
            continue
        with whole_file(path) as file:
            file.writelines(kept)
        learned[adapter] = len(lines) - len(kept)
    return learned


def label_text(target: JSON) -> str | None:
    """Return the answer that a label asks for: a text as it is, else JSON; None if there is none."""
    if target is None or target == "":
        return None
    return target.strip() or None if isinstance(target, str) else canonical_json(target).decode()


def training_set(
    samples: Iterable[Sample],
    request: Callable[[Sample], ModelRequest],
    answers: Mapping[str, str | None],
    *,
    origin: str,
    near: Callable[[Sequence[Sample]], Collection[str]],
    rejected: Collection[str] = (),
) -> TrainingSet:
    """Return the examples of some samples, each asked as `request` says and answered as in `answers`, by id.

    `near` returns the ids of samples that are, or are close to, certification items: they never enter.
    `rejected` are samples whose answers the scorer did not accept. Of samples with the same prompt one
    enters; none does if their answers differ. Raises `UsageError` if fewer than `FEWEST_EXAMPLES` are left.
    """
    samples = tuple(samples)
    leaked = frozenset(near(samples))
    left_out: Counter[LeftOutCause] = Counter()
    found: dict[bytes, list[TrainingExample]] = {}
    for sample in samples:
        answer = answers.get(sample.id)
        if sample.id in leaked:
            left_out["near a certification item"] += 1
        elif sample.id in rejected:
            left_out["answer not accepted"] += 1
        elif answer is None or not answer.strip():
            left_out["no answer"] += 1
        else:
            example = _example(sample, request(sample), answer.strip(), origin)
            found.setdefault(canonical_json((example.text, example.messages)), []).append(example)
    examples = []
    for same in found.values():
        if len({each.answer for each in same}) > 1:
            left_out["same prompt, other answer"] += len(same)
            continue
        examples.append(same[0])
        left_out["repeated"] += len(same) - 1
    if len(examples) < FEWEST_EXAMPLES:
        raise UsageError(
            f"{len(examples)} examples to train on, and at least {FEWEST_EXAMPLES} are needed"
            f"{_why(left_out)}",
            code="training-set-small",
            hint="label more samples, or name a teacher with --teacher",
        )
    return TrainingSet(
        examples=tuple(examples),
        left_out={cause: count for cause, count in left_out.items() if count},
        leaked=tuple(sample.id for sample in samples if sample.id in leaked),
    )


def _example(sample: Sample, asked: ModelRequest, answer: str, origin: str) -> TrainingExample:
    turns = tuple(ChatTurn(role=each.role, content=each.content or "") for each in asked.messages)
    return TrainingExample(sample_id=sample.id, answer=answer, origin=origin, text=asked.text, messages=turns)


def _why(left_out: Mapping[LeftOutCause, int]) -> str:
    parts = [f"{count} left out: {cause}" for cause, count in left_out.items() if count]
    return f" ({'; '.join(parts)})" if parts else ""


def check_no_leak(
    examples: Sequence[TrainingExample], *, near: Collection[str], closed: Collection[str]
) -> None:
    """Raise `DataError` if an example is a certification item, or close to one.

    This is looked at once more before training, whatever chose the examples. `closed` are the ids of all
    items that nothing may be trained on, and `near` those of samples that are close to one.
    """
    leaks = [each.sample_id for each in examples if each.sample_id in closed or each.sample_id in near]
    if leaks:
        raise DataError(
            f"{len(leaks)} of {len(examples)} training examples are certification items or close to one, "
            f"for instance `{leaks[0]:.80}`",
            code="training-leaks",
            hint="take them out of the data: a verdict on items that training saw means nothing",
        )
