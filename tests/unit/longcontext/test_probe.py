"""The probe as a whole, on models whose length is known."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import msgspec
import pytest

from crossgrade.calls import in_own_task
from crossgrade.decide import ProbeResult
from crossgrade.domain import ModelAnswer, ModelRequest
from crossgrade.errors import AuthError, UpstreamError, UsageError
from crossgrade.longcontext import (
    Asker,
    Document,
    HaystackPool,
    OldJournal,
    Probe,
    ProbeSettings,
    bytes_tokenizer,
    check_settings,
    estimate_probe,
    read_journal,
    synthetic_documents,
)
from crossgrade.report import headline, headline_against, render_probe
from tests.codes import check_reason, raises_code
from tests.unit.evaluate.running import HASTY
from tests.unit.longcontext.conftest import ReadingModel, opened

NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture
def probe(
    pool: HaystackPool, settings: ProbeSettings, asker: Callable[..., Asker]
) -> Callable[..., ProbeResult]:
    def run(
        model: ReadingModel,
        *,
        of: HaystackPool = pool,
        against: ReadingModel | None = None,
        gate: int | None = None,
        **changes: object,
    ) -> ProbeResult:
        asked = asker(model, **changes)
        other = None
        if against is not None:
            other = replace(asked, model=opened(against, "incumbent"))
        planned = replace(settings, gate_tokens=gate)
        return asyncio.run(Probe("p", planned, of, asked, documents=1, now=NOW, against=other).run())

    return run


@pytest.fixture
def model(pool: HaystackPool) -> Callable[..., ReadingModel]:
    return lambda **limits: ReadingModel(lambda text: len(pool.tokenizer.encode(text)), **limits)


def test_a_model_that_holds_is_certified_at_the_longest_length(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel]
) -> None:
    reader = model()
    result = probe(reader)
    assert (result.ending, result.effective.at_least, result.effective.tokens) == ("determined", True, 8192)
    assert result.certified.tokens == 8192
    assert result.certified.body_bytes > 8192
    assert (result.base.value, result.no_documents.value, result.overhead_tokens) == (1.0, 0.0, 7)
    assert all(rung.canary and not rung.failures and rung.ttft_ms == 3.0 for rung in result.rungs)
    assert result.spent.calls == len(reader.prompts)
    assert {reader.count(text) + 7 for text in reader.prompts if reader.count(text) > 900} <= {
        *(rung.tokens for rung in result.rungs)
    }


def test_a_model_that_falls_is_found_and_certified_below(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel]
) -> None:
    result = probe(model(holds=3_000))
    assert result.ending == "determined"
    assert 1_500 <= result.effective.tokens <= 6_000
    assert result.certified.tokens < 3_000
    assert "first falls under 85 %" in headline(result)
    kept = msgspec.json.decode(msgspec.json.encode(result), type=ProbeResult)
    assert kept.certified.body_bytes == result.certified.body_bytes


def test_beside_a_model_that_is_asked_the_same_prompts(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel]
) -> None:
    incumbent = model()
    result = probe(model(holds=3_000), against=incumbent)
    assert 1_500 <= result.effective_against.tokens <= 6_000
    assert all(rung.against.value == 1.0 and rung.against.n == rung.share.n for rung in result.rungs)
    assert {(each.against, each.retention.outcome) for each in result.certificates} == {
        (None, "pass"),
        ("incumbent", "pass"),
    }
    assert result.certified.tokens < 3_000
    words = str(headline_against(result))
    assert "of what incumbent scores at the same length" in words
    assert words in unescape(render_probe(result)).replace("\u00a0", " ")


def test_an_incumbent_that_answers_nothing_at_a_length_certifies_nothing_there(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel]
) -> None:
    result = probe(model(holds=3_000), against=model(holds=1_500), gate=2_048)
    assert result.effective.tokens <= 6_000
    assert result.effective_against.tokens > result.effective.tokens
    own, other = result.certificates[0], result.certificates[-1]
    assert (own.retention.outcome, other.retention.outcome) == ("pass", "undecided")
    check_reason(other.retention, "incumbent-scores-nothing")
    assert result.certified is None


def test_a_refused_length_is_a_result(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel]
) -> None:
    result = probe(model(refuses=3_000))
    refused = [rung.tokens for rung in result.rungs if rung.refused]
    assert refused
    assert min(refused) > 2_900
    assert result.certified.tokens < 3_000
    assert "refused" in render_probe(result)
    # A refusal is one answer, whatever the search takes it for.
    assert {rung.share.n for rung in result.rungs if rung.refused} == {1}
    assert {rung.haystacks for rung in result.rungs if rung.refused} == {1}


def test_a_server_that_cuts_prompts_is_told_by_its_usage(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel]
) -> None:
    result = probe(model(cuts=3_000))
    assert result.ending == "truncated"
    assert result.effective.tokens is None
    check_reason(result, "prompts-cut-or-tokenizer", "3,000", "4,096")
    check_reason(result.effective, "prompts-cut")


def test_a_server_that_cuts_prompts_and_reports_no_usage_is_told_by_the_first_line(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel]
) -> None:
    result = probe(model(holds=3_000, usage=False))
    assert any("the server may cut prompts" in each for each in result.notes)
    assert any("reports no usage" in each for each in result.notes)


def test_without_a_tokenizer_lengths_are_calibrated(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel]
) -> None:
    reader = model()
    result = probe(reader, of=HaystackPool(synthetic_documents(300_000, 1), bytes_tokenizer()))
    assert not result.exact
    assert any("bytes a token, from the endpoint's usage" in each for each in result.notes)
    longest = max(rung.tokens for rung in result.rungs)
    assert max(map(reader.count, reader.prompts)) == pytest.approx(longest, rel=0.1)


@pytest.fixture
def uneven() -> HaystackPool:
    """Documents of words and of digits, which have fewer bytes a token."""
    digits = "".join(f"Row {at} {at * 7919} {at * 104729} {at * 1299709}\n" for at in range(4_000))
    return HaystackPool(
        [*synthetic_documents(300_000, 1), Document(name="d", text=digits)], bytes_tokenizer()
    )


def test_an_estimate_that_is_off_is_no_server_that_cuts(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel], uneven: HaystackPool
) -> None:
    whole = probe(model(), of=uneven)
    assert (whole.ending, whole.effective.at_least) == ("determined", True)
    assert any("of the lengths given here" in each for each in whole.notes)


def test_a_server_that_cuts_is_found_without_a_tokenizer_too(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel], uneven: HaystackPool
) -> None:
    class Cutting(ReadingModel):
        async def ask(self, request: ModelRequest) -> ModelAnswer:
            prompt = request.messages[0].content or ""
            end = prompt[-6_000:]
            return await super().ask(replace(request, messages=(replace(request.messages[0], content=end),)))

    cut = probe(Cutting(model().count), of=uneven)
    assert cut.ending == "truncated"
    check_reason(cut, "prompts-cut-or-tokenizer")


def test_documents_shorter_than_asked_are_said(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel], pool: HaystackPool
) -> None:
    short = HaystackPool(synthetic_documents(6_000, 1), pool.tokenizer)
    assert any("shorter than what was asked" in each for each in probe(model(), of=short).notes)


def test_a_ladder_that_begins_too_low_is_said_in_its_own_tokens(
    settings: ProbeSettings, pool: HaystackPool
) -> None:
    settings = replace(settings, lengths=(16, 64))
    with raises_code("length-too-short", "16", "5"):
        asyncio.run(Probe("p", settings, pool, None, documents=1, now=NOW).run())


def test_a_length_with_fewer_bytes_than_the_questions_is_said(
    probe: Callable[..., ProbeResult], uneven: HaystackPool
) -> None:
    with raises_code("length-too-short"):
        probe(ReadingModel(lambda text: len(text.encode())), of=uneven)


def test_a_model_that_knows_nothing_cannot_be_probed(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel]
) -> None:
    result = probe(model(holds=0))
    assert (result.ending, result.effective) == ("no base", None)
    check_reason(result, "nothing-answered")
    assert "not determined" in headline(result)


def test_a_spent_budget_ends_it_and_it_goes_on_without_paying_twice(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel]
) -> None:
    first = model()
    result = probe(first, max_cost="0.02")
    assert (result.ending, result.effective.tokens if result.effective else None) == ("budget", None)
    check_reason(result, "budget-exceeded")
    assert result.spent.cost_usd <= 0.02
    second = model()
    whole = probe(second)
    assert whole.ending == "determined"
    assert not set(first.prompts) & set(second.prompts)
    third = model()
    again = probe(third)
    assert third.prompts == []
    assert again == whole


def test_an_older_journal_goes_into_the_store_once(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel], data_dir: Path
) -> None:
    def older() -> OldJournal:
        return read_journal(data_dir / "probes" / "reader.jsonl", "settings")

    asked = (data_dir / "probes" / "reader.jsonl").read_text(encoding="utf-8").count('"key"')
    first = model()
    whole = probe(first, older=older())
    assert len(first.prompts) == whole.spent.calls - asked
    second = model()
    assert probe(second, older=older()) == whole
    assert second.prompts == []


def test_ctrl_c_waits_for_the_call_in_flight_and_keeps_its_answer(
    pool: HaystackPool,
    settings: ProbeSettings,
    asker: Callable[..., Asker],
    model: Callable[..., ReadingModel],
) -> None:
    class Interrupted(ReadingModel):
        async def ask(self, request: ModelRequest) -> ModelAnswer:
            if len(self.prompts) == 9:
                main.cancel()  # as the event loop does at Ctrl-C
                await asyncio.sleep(0.05)
            return await super().ask(request)

    interrupted = Interrupted(model().count)
    asked = asker(interrupted)

    async def probe() -> ProbeResult:
        nonlocal main
        main = asyncio.current_task()
        return await in_own_task(Probe("p", settings, pool, asked, documents=1, now=NOW).run)

    main: asyncio.Task[ProbeResult] | None = None
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(probe())
    assert len(interrupted.prompts) == 10
    again = model()
    asyncio.run(Probe("p", settings, pool, asker(again), documents=1, now=NOW).run())
    assert not set(interrupted.prompts) & set(again.prompts)


def test_failures_count_as_wrong_and_are_asked_again(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel]
) -> None:
    class Flaky(ReadingModel):
        async def ask(self, request: object) -> object:
            if len(self.prompts) % 30 == 29:
                self.prompts.append("")
                self.failing = HASTY.attempts  # every try of one call
            if getattr(self, "failing", 0):
                self.failing -= 1
                raise UpstreamError("busy", provider="reader")
            return await super().ask(request)

    flaky = Flaky(model().count)
    result = probe(flaky)
    assert sum(rung.failures for rung in result.rungs) >= 1
    assert result.ending == "determined"


@pytest.mark.parametrize("error", [AuthError("no", provider="r"), UpstreamError("busy", provider="r")])
def test_errors_that_stay_end_the_probe(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel], error: Exception
) -> None:
    class Broken(ReadingModel):
        async def ask(self, request: object) -> object:
            raise error

    with pytest.raises(type(error)):
        probe(Broken(model().count))


def test_a_gate_is_certified_where_it_was_asked_for(
    pool: HaystackPool,
    settings: ProbeSettings,
    asker: Callable[..., Asker],
    model: Callable[..., ReadingModel],
) -> None:
    with_gate = replace(settings, gate_tokens=3_333)
    asked = asker(model(holds=3_000))
    result = asyncio.run(Probe("p", with_gate, pool, asked, documents=1, now=NOW).run())
    (certificate,) = result.certificates
    assert (certificate.tokens, certificate.retention.outcome) == (3_333, "fail")
    assert result.certified is None


def test_the_estimate_holds_what_a_probe_uses(
    probe: Callable[..., ProbeResult], settings: ProbeSettings, model: Callable[..., ReadingModel]
) -> None:
    estimate = estimate_probe(settings, (None,), 64)
    spent = probe(model(holds=3_000)).spent
    assert estimate.cost_usd is None
    assert estimate.calls[0] / 2 <= spent.calls <= estimate.calls[1] * 2
    assert estimate.input_tokens[0] / 2 <= spent.input_tokens <= estimate.input_tokens[1] * 2


def test_the_page_stands_alone_and_escapes(
    probe: Callable[..., ProbeResult], model: Callable[..., ReadingModel]
) -> None:
    page = render_probe(replace(probe(model(holds=3_000)), offer="<b>x", notes=("<i>note",)))
    assert page.count("<svg") == 4  # two figures, each for a wide page and for a phone
    assert "<b>" not in page
    assert "<i>note" not in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    "changes",
    [{"questions": 0}, {"questions": 21}, {"floor": 1.0}, {"alpha": 0.5}, {"certify_haystacks": -1}],
)
def test_settings_that_make_no_probe(settings: ProbeSettings, changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        check_settings(replace(settings, **changes))
