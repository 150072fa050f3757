"""Records a run's calls: recalls outcomes of earlier parts, and writes down and counts new ones."""

from collections.abc import Mapping

from crossgrade.calls import Calls, Journal, is_of_the_request, prompt_digest
from crossgrade.evaluate._case import Case, SampleCall
from crossgrade.store import Answer, RecordedAnswer, Response, RunKey


class Recording:
    """Gives the calls of a run their outcomes, and hands every outcome to the journal.

    `recorded` is what earlier parts of the run left. Counts: `new` answers, `reused` ones, and `errors`.
    """

    def __init__(
        self, run_id: str, *, calls: Calls, journal: Journal, recorded: Mapping[RunKey, RecordedAnswer]
    ) -> None:
        self._run_id = run_id
        self._calls = calls
        self._journal = journal
        self._recorded = recorded
        self.new = 0
        self.reused = 0
        self.errors = 0

    def recall(self, case: Case) -> None:
        """Give the calls of a case the outcomes that earlier parts of the run recorded."""
        for call in case.calls:
            recorded = self._recorded.get((case.sample.id, call.variant.name, call.epoch))
            if recorded is None:
                continue
            call.recorded = recorded
            call.attempt = recorded.attempt
            if recorded.response is not None:
                call.response, call.reused = recorded.response, recorded.reused
                call.model.answered()
                # What could not be scored then, by a judge that failed, may be scored now.
                is_scored = recorded.score is not None and recorded.score.value is not None
                call.score = recorded.score if is_scored else None
                self._count(call)
            elif is_of_the_request(recorded.error_kind):
                call.failed = True
                self._count(call)
            else:
                call.attempt += 1

    def take(self, case: Case, call: SampleCall, response: Response) -> None:
        """Give a call an answer that was paid for before, or by a batch of this run."""
        self._calls.take(call, response)
        self._record(case, call)

    async def ask(self, case: Case, call: SampleCall) -> None:
        """Ask the provider and write the outcome down. Raises as `Calls.ask` does."""
        try:
            await self._calls.ask(call)
        finally:
            # The answer was put into the journal a moment ago: the two are committed together.
            if not call.is_open:
                self._record(case, call)

    def repeat(self, case: Case, call: SampleCall) -> None:
        """Record an answer of an earlier part of the run as the next attempt, which can get a new score."""
        call.attempt += 1
        self._journal.put(self._answer(case, call))

    def _record(self, case: Case, call: SampleCall) -> None:
        self._count(call)
        self._journal.put(self._answer(case, call))

    def _count(self, call: SampleCall) -> None:
        if call.failed:
            self.errors += 1
        elif call.reused:
            self.reused += 1
        else:
            self.new += 1

    def _answer(self, case: Case, call: SampleCall) -> Answer:
        response, error = call.response, call.error
        return Answer(
            run_id=self._run_id,
            sample_id=case.sample.id,
            model=call.variant.name,
            epoch=call.epoch,
            attempt=call.attempt,
            prompt_digest=prompt_digest(call.request),
            settings_digest=call.variant.settings_digest,
            response_id=None if response is None else response.id,
            reused=call.reused,
            error=None if error is None else error.message,
            error_kind=None if error is None else error.default_code,
        )
