"""`reward`: what the tests of a task gave the work of an agent.

The answer is a trial, which Crossgrade itself wrote (`RewardedTrial`). Its reward was decided when the trial
ran, in a sandbox of its own, so this scorer only reads it.
"""

from dataclasses import dataclass

import msgspec

from crossgrade.domain import ModelAnswer, Sample, Score
from crossgrade.evaluate.scorers._contract import graded, unparsed
from crossgrade.evaluate.scorers._options import Options


class RewardedTrial(msgspec.Struct, frozen=True, kw_only=True):
    """One trial, as the text of an answer has it: the task, the run id, and what the tests gave, in [0, 1].

    `failure` is how the agent failed (`failure_label`), None if it did not. It may have solved the task all
    the same. `calls` counts its calls of the model, and `cut_off` those of them whose answers were not heard
    to their end, so that the trial's cost is unknown. `log` is the end of what the agent said.
    """

    task: str
    run: str
    reward: float
    failure: str | None = None
    calls: int = 0
    cut_off: int = 0
    agent_seconds: float = 0.0
    verifier_seconds: float = 0.0
    log: str = ""


class RewardOptions(Options, frozen=True):
    """Options of `reward`: there are none."""


_decoder = msgspec.json.Decoder(RewardedTrial)


def read_trial(text: str) -> RewardedTrial | None:
    """Return the trial in an answer's text, None if there is none."""
    try:
        trial = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return None
    return trial if 0 <= trial.reward <= 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardScorer:
    """Scores a trial by its reward, and any other answer as unparsed.

    It reads the whole text: what an agent printed is in it, and may look like reasoning or anything else.
    """

    kind: str
    digest: str

    async def score(self, sample: Sample, answer: ModelAnswer) -> Score:  # noqa: ARG002 - the protocol's shape
        """Score one answer."""
        trial = read_trial(answer.text)
        if trial is None:
            return unparsed("the answer is no trial of an agent")
        seen = f"{trial.calls} calls in {trial.agent_seconds:.1f} s"
        if trial.cut_off:
            seen += f", {trial.cut_off} of them cut off, so that the cost is unknown"
        why = seen if trial.failure is None else f"{trial.failure}, {seen}"
        return graded(trial.reward, f"{trial.reward:g}", why)
