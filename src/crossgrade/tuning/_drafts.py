"""A prompt taken apart, so that one part of it can be changed without the others.

A draft has an instruction, a context (fields with the same few values everywhere, as a list of examples), the
form of one item, and solved examples in that form. Putting a draft together again without a change gives the
prompt that it came from, to the letter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from crossgrade.domain import JSON, PLACEHOLDER, GenerationSettings, PromptTemplate, Sample, Variant
from crossgrade.workloads.files import as_text

Place: TypeAlias = Literal["system", "user", "end"]
"""Where an instruction stands: in the system message, before the item, or before and after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A variant's prompt in parts, and its settings.

    `head` is the text of the user template before the item: instruction or context as it was written. `item`
    is the form of one item, which begins with its first telling field or the words before it on the same
    line. `added` are instructions that a change adds, and `shots` the samples that it shows as examples.
    """

    variant: Variant
    head: str
    item: str
    system: str | None
    text: bool
    place: Place
    tagged: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    shots: tuple[Sample, ...] = ()
    schema: JSON = None
    grammar: str | None = None
    settings: GenerationSettings

    def assembled(self) -> Variant:
        """Return the variant that the draft stands for."""
        added = "\n".join(self.added)
        system, head, tail = self.system, self.head, ""
        if self.place == "system" and not self.text:
            system = _joined(system, added)
        elif self.place == "end":
            tail = f"\n\n{_joined(_joined(system, head.strip()), added) or ''}"
        elif added:
            head = f"{_joined(head.strip(), added)}\n\n"
        user = f"{head}{''.join(map(self._shown, self.shots))}{self._form()}{tail}"
        prompt = replace(
            self.variant.prompt,
            user=user,
            system=system,
            text=self.text,
            response_schema=self.schema,
            grammar=self.grammar,
        )
        return replace(self.variant, prompt=prompt, settings=self.settings)

    def _form(self) -> str:
        form = self.item
        for name in self.tagged:
            form = form.replace(f"{{{name}}}", f"<{name}>\n{{{name}}}\n</{name}>", 1)
        return form

    def _shown(self, sample: Sample) -> str:
        """Return a sample as a solved example."""
        parts = PLACEHOLDER.split(self._form())
        parts[1::2] = [as_text(sample.fields.get(name)) or "" for name in parts[1::2]]
        asked = "".join(parts).rstrip()
        between = "\n" if "\n" in asked else " "
        return f"{asked}{between}{as_text(sample.target) or ''}\n" + ("" if between == " " else "\n")


def draft_of(variant: Variant, telling: Sequence[str]) -> Draft:
    """Take a variant's prompt apart; `telling` are the fields that tell one sample from another."""
    prompt = variant.prompt
    start = _item_start(prompt, telling)
    return Draft(
        variant=variant,
        head=prompt.user[:start],
        item=prompt.user[start:],
        system=prompt.system,
        text=prompt.text,
        place="user" if prompt.text or prompt.system is None else "system",
        schema=prompt.response_schema,
        grammar=prompt.grammar,
        settings=variant.settings,
    )


def _item_start(prompt: PromptTemplate, telling: Sequence[str]) -> int:
    """Return where the item begins in the user template: on the line of its first telling field.

    A field that tells nothing, on the same line, ends before the item.
    """
    before = 0
    for found in PLACEHOLDER.finditer(prompt.user):
        if found[1] in telling:
            return max(before, prompt.user.rfind("\n", 0, found.start()) + 1)
        before = found.end()
    return 0


def may_be_shown(sample: Sample, telling: Sequence[str]) -> bool:
    """Return whether a sample can stand in a prompt as an example: it has a target, and nothing like a field.

    A text such as `{name}` would be taken for a placeholder.
    """
    if sample.target is None or isinstance(sample.target, list):  # of several targets none is the answer
        return False
    texts = [as_text(sample.target) or "", *(as_text(sample.fields.get(name)) or "" for name in telling)]
    return not any(PLACEHOLDER.search(text) for text in texts)


def _joined(one: str | None, other: str | None) -> str | None:
    return "\n\n".join(part for part in (one, other) if part) or None
