"""`code`: the answer is a Python function that passes its tests, run in a sandbox.

The form is HumanEval's (Chen et al. 2021, arXiv:2107.03374): a sample holds the beginning of a
function (`prompt`), its name (`entry_point`) and a text that defines `check(candidate)`.
"""

import re
from dataclasses import dataclass, field
from typing import Annotated

import anyio
from msgspec import Meta

from crossgrade.domain import ModelAnswer, Sample, Score
from crossgrade.evaluate._sandbox import LONGEST_PROGRAM, ProgramLimits, run_python
from crossgrade.evaluate.scorers._contract import graded, unparsed
from crossgrade.evaluate.scorers._options import Options, bad_sample
from crossgrade.evaluate.scorers._text import considered
from crossgrade.providers.cores import usable_cores

_FENCE = re.compile(r"```(?P<language>[\w+-]{0,12})[^\n]{0,40}\n(?P<code>.*?)(?:```|\Z)", re.DOTALL)


class CodeOptions(Options, frozen=True):
    """Options of `code`."""

    prompt_field: Annotated[
        str, Meta(description="Field with the beginning of the function, for answers that continue it.")
    ] = "prompt"
    entry_point_field: Annotated[str, Meta(description="Field with the function's name.")] = "entry_point"
    tests_field: Annotated[
        str, Meta(description="Field with the tests: Python that defines `check(candidate)`.")
    ] = "test"
    cpu_s: Annotated[
        float,
        Meta(
            description="Maximum processor seconds. The limit on elapsed time is three times as long.",
            gt=0,
            le=600,
        ),
    ] = 10.0
    memory_mb: Annotated[int, Meta(description="Memory in MiB.", ge=64, le=65536)] = 512
    unsandboxed: Annotated[
        bool,
        Meta(
            description="Run without a sandbox. The limits still hold, but the code can read, change and "
            "send whatever you can."
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeScorer:
    """Scores 1 if the tests pass, 0 if they fail, run out of time or never start.

    Raises `SandboxError` where no sandbox can be made. As many programs run at once as
    there are cores to use.
    """

    kind: str
    digest: str
    options: CodeOptions
    slots: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(usable_cores()))

    async def score(self, sample: Sample, answer: ModelAnswer) -> Score:
        """Score one answer."""
        prompt, name, tests = self._parts(sample)
        code = program_of(considered(answer.text), prompt=prompt, entry_point=name)
        if code is None:
            return unparsed("no code in the answer")
        limits = ProgramLimits(cpu_s=self.options.cpu_s, memory_bytes=self.options.memory_mb << 20)
        async with self.slots:
            result = await run_python(
                code, f"{tests}\n\ncheck({name})\n", limits=limits, unsandboxed=self.options.unsandboxed
            )
        return graded(result.outcome == "passed", code, result.why or None)

    def _parts(self, sample: Sample) -> tuple[str, str, str]:
        options = self.options
        prompt = sample.fields.get(options.prompt_field, "")
        name, tests = (sample.fields.get(key) for key in (options.entry_point_field, options.tests_field))
        if not (
            isinstance(name, str)
            and name.isidentifier()
            and isinstance(tests, str)
            and isinstance(prompt, str)
        ):
            raise bad_sample(
                self.kind, sample,
                f"wanted a function name in `{options.entry_point_field}`, tests in `{options.tests_field}`",
                "set `entry_point_field` and `tests_field` to the columns that hold them",
                code="code-tests-missing",
            )  # fmt: skip
        return prompt, name, tests


def program_of(text: str, *, prompt: str, entry_point: str) -> str | None:
    """Return the Python program in an answer, or None when it holds none.

    The code is the last fence that defines the function, else all fences, else the whole text.
    In front of it goes what the prompt has above the function (imports, other functions), or the
    whole prompt where the code only continues it.
    """
    fences = [
        match["code"]
        for match in _FENCE.finditer(text)
        if match["language"].lower() in {"", "py", "python", "python3"}
    ]
    defines = re.compile(
        rf"^[ \t]*(?:async[ \t]+)?(?:def[ \t]+{entry_point}[ \t]*\(|{entry_point}[ \t]*=)", re.MULTILINE
    )
    defining = [code for code in fences if defines.search(code)]
    code = defining[-1] if defining else "\n".join(fences) or text
    if not code.strip() or len(code) + len(prompt) > LONGEST_PROGRAM:
        return None
    if not defines.search(code):
        return prompt + code
    start = defines.search(prompt)
    return (prompt[: start.start()] + "\n" if start else "") + code
