"""What verdicts say, word for word: the one place where their sentences are compared.

tests/data/verdicts.txt has a verdict of each kind, and together they say everything that a verdict can say.
After a change of words, renew it and read what changed:

    pytest tests/unit/decide/test_words.py -p no:xdist --inline-snapshot=fix
"""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest
from inline_snapshot import external_file

from crossgrade.decide import (
    AgentPlan,
    AgentTrials,
    Blocks,
    DecisionSettings,
    EveryModel,
    LabelCounts,
    ModelFacts,
    PairingAudit,
    RunDesign,
    Sibling,
    TrialCost,
    Verdict,
    decide_policy,
    make_design,
    train_router,
)
from crossgrade.domain import (
    AgentRuns,
    AgentSetup,
    BaselineTest,
    Clause,
    Contract,
    FailureCount,
    IncumbentEnd,
    Lineage,
    Origin,
    Requirements,
    Sample,
    TuningTest,
)
from crossgrade.pricing.thrift import ThriftShare
from crossgrade.report import render_text
from tests.codes import listed_remarks
from tests.unit.decide.test_topics import made as topical

DEAR, CHEAP = {"cost_usd": 0.01}, {"cost_usd": 0.001}
SEQUENTIAL = DecisionSettings(mode="sequential")
ROUTED = DecisionSettings(mode="fixed")
STATED = {"a": 0.01, "b": 0.001}


def joined(counts, *tables):
    """Scores of several parts, one after the other, and the name of each row's part."""
    pairs = [counts(*one, seed=at) for at, one in enumerate(tables)]
    b, c = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return b, c, [name for name, (x, _) in zip("xyz", pairs, strict=False) for _ in x]


def asked_first(evidence, **most):
    """The evidence of a run that asked each candidate only its first samples."""

    def cut(model, n):
        rows = np.isin(np.arange(evidence.n), evidence.order[:n])
        return replace(model, score=np.where(rows, model.score, np.nan))

    candidates = tuple(cut(each, most[each.model]) for each in evidence.candidates)
    return replace(evidence, incumbent=cut(evidence.incumbent, max(most.values())), candidates=candidates)


def in_blocks(make, b, c, **changed):
    """The evidence of a run whose incumbent answered one sample in 4."""
    n = len(b)
    paired = np.arange(n) % 4 == 3
    run = RunDesign(samples=n, first_samples=n, blocks=Blocks(size=4, blend=0.7, pilot=0, pairs=n // 4))
    assert [run.pairs_at(at) for at in range(n)] == paired.tolist()
    plan = [
        Sample(id=f"s-{at}", fields={}, segment=changed["segment"][at] if "segment" in changed else None)
        for at in range(n)
    ]
    return make(
        np.where(paired, b, np.nan), c, order=np.arange(n), planned=n, position=np.arange(n),
        design=make_design(plan, run), inc={"cost_usd": np.where(paired, 0.01, np.nan)}, cand=CHEAP, **changed,
    )  # fmt: skip


def switches(make, counts, now):
    b, c, parts = joined(counts, (900, 10, 25, 65), (40, 90, 10, 60))
    found = make(b, c, c, segment=parts, inc=DEAR, cand=CHEAP)
    cheaper = replace(found.candidates[1], cost_usd=np.full(found.n, 0.0002))
    gone = ModelFacts(model="a", retires_on=date(2026, 1, 1))
    facts = (gone, ModelFacts(model="b", open_weights=True), ModelFacts(model="c", open_weights=False))
    others = (
        Sibling(workload="sales", share=0.25, candidate="b", p=0.01),
        Sibling(workload="idle", share=0.25),
    )
    settings = DecisionSettings(facts=facts, alpha_share=0.5, siblings=others, requests_per_month=1_000_000)
    yield replace(found, candidates=(found.candidates[0], cheaper)), settings
    stated = DecisionSettings(
        stated_cost_usd=STATED,
        facts=(
            ModelFacts(model="a", retires_on=date(2027, 1, 14), open_weights=False),
            ModelFacts(model="b", price_source="the list price of 2026-11-01", open_weights=True),
        ),
        max_bytes={"b": 1_000},
        limit_sources=("probe p-1",),
        client_api="openai",
        across=("b",),
    )
    bound = np.array([None] * 190 + ["logit_bias"] * 7 + ["n"] * 3, dtype=np.object_)
    sizes = np.repeat([900.0, 9_000.0], [160, 40])
    yield make(*counts(150, 12, 12, 26), body_bytes=sizes, uncarried=bound), stated
    talks = np.array([f"t{at % 50}" for at in range(200)], dtype=np.object_)
    long = make(*counts(150, 12, 12, 26), inc=DEAR, cand=CHEAP, cluster=talks, body_bytes=sizes)
    yield long, DecisionSettings(max_bytes={"b": 1_000})
    read = replace(long.incumbent, cache_saved_usd=np.full(200, 0.004))
    yield replace(long, incumbent=read), DecisionSettings(max_bytes={"b": 1_000})
    free = DecisionSettings(client_api="openai", across=("b",))
    yield make(*counts(200, 0, 0, 0), uncarried=bound), free
    yield in_blocks(make, *counts(450, 30, 30, 90)), SEQUENTIAL


def splits(make, counts, now):
    b, c, parts = joined(counts, (150, 10, 15, 25), (2, 1, 30, 67))
    yield make(b, c, segment=parts, chance=0.25, inc=DEAR, cand=CHEAP), DecisionSettings()
    rng = np.random.default_rng(6)
    before, after = rng.lognormal(0.0, 1.0, (2, 240))
    found = make(np.ones(240), np.ones(240), segment=["x", "y"] * 120)
    candidate = replace(found.candidates[0], cost_usd=0.7 * after)
    found = replace(found, incumbent=replace(found.incumbent, cost_usd=before), candidates=(candidate,))
    yield found, DecisionSettings(splits_only=True)


def routed(make, counts, now):
    yield train_router(topical()[0], replace(ROUTED, floor=0.9)), replace(ROUTED, floor=0.9)
    b, c, parts = joined(counts, (900, 10, 10, 80), (320, 130, 10, 40))
    yield train_router(make(b, c, segment=parts, inc=DEAR, cand=CHEAP), ROUTED), ROUTED
    grow = replace(ROUTED, grow=True, floor=0.9)
    yield train_router(make(b, c, segment=parts, inc=DEAR, cand=CHEAP), grow), grow
    alike = make(*counts(340, 20, 20, 20), segment=["x", "y"] * 200, inc=DEAR, cand=CHEAP)
    yield train_router(alike, ROUTED), ROUTED
    for floor in (0.95, 0.999):
        both = replace(ROUTED, whole_floor=floor)
        yield train_router(make(b, c, segment=parts, inc=DEAR, cand=CHEAP), both), both
    both = replace(ROUTED, whole_floor=0.95)
    yield train_router(alike, both), both


def keeps(make, counts, now):
    yield make(*counts(100, 62, 2, 36), inc=DEAR, cand=CHEAP), DecisionSettings()
    yield make(*counts(150, 12, 12, 26), inc=CHEAP, cand=DEAR), DecisionSettings()
    wanted = Requirements(context_tokens=32_000, regions=("eu",))
    facts = (ModelFacts(model="b", context_tokens=8_000),)
    good = make(*counts(150, 12, 12, 26), inc=DEAR, cand=CHEAP)
    yield good, DecisionSettings(requirements=wanted, facts=facts)
    yield good, DecisionSettings(requirements=Requirements(evidence="agentic"))
    yield make(*counts(150, 12, 12, 26)), DecisionSettings(stated_cost_usd={"a": 0.01, "b": 0.01})
    yield make(*counts(1, 19, 0, 2), inc=DEAR, cand=CHEAP), DecisionSettings()
    b, c, parts = joined(counts, (50, 50, 0, 0), (50, 50, 0, 0))
    yield make(b, c, segment=parts, inc=DEAR, cand=CHEAP), DecisionSettings(splits_only=True)


def agentic(make, counts, now):
    good = make(*counts(150, 12, 12, 26), inc=DEAR, cand=CHEAP)
    plan = AgentPlan(more="tasks", tasks=200, attempts=5, trials=1200, usd=340.0)
    trials = AgentTrials(
        agent="harness",
        ran_on=now.date(),
        certified=False,
        shown_below=False,
        words="it keeps 0.960 of what a solves, over 80 tasks of harness",
        digest="sha256:0",
        plans=(plan,),
    )
    for known in (trials, replace(trials, certified=True), replace(trials, unfit="agent-parity: unknown")):
        facts = (ModelFacts(model="b", trials=known),)
        yield good, DecisionSettings(requirements=Requirements(evidence="agentic"), facts=facts)
    tokens = ModelFacts(model="a", trial_cost=TrialCost(usd=1.25, basis="log"))
    others = ModelFacts(model="b", trial_cost=TrialCost(usd=0.05, basis="others", of="a"))
    lacking = replace(others, no_trials="trials.csv has runs of small-agent, none of harness")
    for facts in ((tokens, others), (tokens,), (tokens, lacking)):
        yield good, DecisionSettings(requirements=Requirements(evidence="agentic"), facts=facts)
    runs = AgentRuns(
        setup=AgentSetup(agent="harness", agent_version="1", dataset="core", limits="{}"),
        trials=200,
        attempts=(1, 1),
        without_verdict=20,
        failures=(FailureCount(name="parse_error", origin="verifier", trials=20, without_verdict=20),),
        model_calls=14.5,
        tool_calls=12,
        tools={"bash": 10.25, "edit": 1.75},
    )
    named = {"runs": runs, "latency_ms": 60_000}
    yield make(*counts(150, 12, 12, 26), inc=DEAR | named, cand=CHEAP | named), DecisionSettings()


def undecided(make, counts, now):
    b, c, parts = joined(counts, (70, 8, 2, 20), (70, 8, 2, 20))
    yield make(b, c, segment=parts, inc=DEAR, cand=CHEAP), DecisionSettings(splits_only=True)
    yield make(*counts(170, 26, 2, 2)), DecisionSettings()
    every = EveryModel(incumbent_usd=0.004, set_aside={"x-large": 0.02, "y-large": 0.0051})
    yield make(*counts(150, 12, 12, 26)), DecisionSettings(every_model=every)
    noise = np.random.default_rng(0).normal(0.01, 0.004, 200)
    yield make(*counts(150, 12, 12, 26), inc=DEAR, cand={"cost_usd": noise}), DecisionSettings()
    yield make([1.0] * 18, [1.0] * 18, inc=DEAR, cand=CHEAP), DecisionSettings()
    b, c, parts = joined(counts, (150, 10, 15, 25), (2, 1, 30, 67))
    yield make(b, c, group=parts, chance=0.25, inc=DEAR, cand=CHEAP), DecisionSettings()
    b, c, parts = joined(counts, (45, 45, 0, 0), (5, 5, 0, 0), (11, 10, 0, 9))
    yield make(b, c, c, segment=parts, inc=DEAR, cand=CHEAP), DecisionSettings()
    yield make([0.0], [1.0], inc=DEAR, cand=CHEAP), DecisionSettings()
    yield make(*counts(16, 4, 0, 0), inc=DEAR, cand=CHEAP), DecisionSettings(floor=0.95)
    anytime = DecisionSettings(mode="anytime")
    yield make(*counts(70, 8, 2, 20), inc=DEAR, cand=CHEAP), anytime
    copies = [f"question {at // 2}" for at in range(100)]
    yield make(*counts(70, 8, 2, 20), inc=DEAR, cand=CHEAP, input=copies), anytime
    b, c, parts = joined(counts, (440, 5, 5, 50), (160, 65, 5, 20))
    for floor in (0.99, 1.0):
        grow = replace(ROUTED, grow=True, floor=floor)
        yield train_router(make(b, c, segment=parts, inc=DEAR, cand=CHEAP), grow), grow


def judged(make, counts, now):
    b, c = counts(360, 110, 20, 110)
    for n, floor in ((40, 0.85), (120, 0.8), (120, 0.83)):
        labels = np.where(np.arange(600) < n, 1.0, np.nan)
        people = {"inc": {"human": labels * b}, "cand": {"human": labels * c}}
        yield make(b, c, judge="judge-1", **people), DecisionSettings(floor=floor)


def stopped(make, counts, now):
    rng = np.random.default_rng(4)
    b = (rng.random(400) < 0.8).astype(float)
    poor = np.where(rng.random(400) < 0.2, 0.0, b)
    order = rng.permutation(400)
    good = np.where(rng.random(400) < 0.01, 0.0, b)
    whole = make(b, poor, order=order, planned=400, inc=DEAR, cand=CHEAP)
    yield asked_first(whole, b=240), SEQUENTIAL
    both = make(
        b, good, good, order=order, planned=400, segment=["x", "y"] * 200, planned_by_segment={"x": 200, "y": 200},
        inc=DEAR, cand=CHEAP,
    )  # fmt: skip
    dearer = replace(both.candidates[1], cost_usd=np.full(400, 0.005))
    both = replace(both, candidates=(both.candidates[0], dearer))
    yield asked_first(both, b=160, c=60), SEQUENTIAL
    blocks = in_blocks(make, *counts(470, 40, 20, 70), segment=["x", "y", "y"] * 200)
    yield asked_first(blocks, b=222), SEQUENTIAL


def broken(make, counts, now):
    yield make(*counts(10, 6, 60, 124), chance=0.25), DecisionSettings()
    b, c = counts(150, 20, 15, 15)
    first = np.arange(200) < 35
    incumbent = {
        "error": first, "unparsed": first, "truncated": first, "stated_mean": 0.528, "out_of_range": 2,
        "prompt_digests": ["p"] * 200, "settings_digests": ("x",), **DEAR,
    }  # fmt: skip
    candidate = {
        "truncated": first & ~first, "prompt_digests": ["q"] * 200, "settings_digests": ("y", "z"),
        "origin": Origin.VENDOR, **CHEAP,
    }  # fmt: skip
    audit = PairingAudit(key_conflicts=33, unmatched=30, duplicates=50, examples=("q7",))
    yield (
        make(b, c, inc=incumbent, cand=candidate, audit=audit, planned=400,
             sample_ids=[f"doc{at // 5}-{at}" for at in range(200)], weight=np.r_[500.0, np.ones(199)]),
        DecisionSettings(draws=3, changed_since_run=("floor 0.9",)),
    )  # fmt: skip
    yield make(b, np.where(np.arange(200) < 30, np.nan, c), judge="judge-1"), DecisionSettings()
    yield make(b, b, inc=DEAR, cand=CHEAP), DecisionSettings()
    chosen = (c > 0) & (np.cumsum(c > 0) <= 100)
    people = {name: {"human": np.where(chosen, column, np.nan)} for name, column in (("inc", b), ("cand", c))}
    yield make(b, np.maximum(c, np.arange(200) % 2), judge="judge-1", **people), DecisionSettings()


def thrifty(make, counts, now):
    batch = ThriftShare(way="batch", share=0.5, needs="if it can wait up to a day")
    cache = ThriftShare(way="prompt caching", share=None, reason="how much of the input repeats is not known")
    newer = ThriftShare(way="newer model of openai", share=0.7, needs="list prices", offer="a-mini")
    noise = np.maximum(0.0049 + 0.002 * np.random.default_rng(3).standard_normal(200), 0.0)
    for usd, ways in ((0.001, (batch, cache, newer)), (0.006, (batch,)), (noise, (batch,))):
        found = make(*counts(150, 12, 12, 26), inc=DEAR, cand={"cost_usd": usd})
        yield found, DecisionSettings(thrifts=ways, requests_per_month=100_000)


def terms(make, counts, now):
    said = {"model": "b", "source": "its licence", "read_on": now.date()}
    clauses = (
        Clause(code="territory-withheld", severity="forbidden", text="It is withheld in the EU.", **said),
        Clause(code="retention-unknown", severity="unknown", text="Its retention is not known.", model="b"),
        Clause(
            code="users-above",
            severity="permitted",
            text="You have too many users.",
            because="a letter",
            **said,
        ),
        Clause(code="display-due", severity="condition", text="It asks for a notice.", **said),
    )
    contracts = {"a": Contract(provider="openai", minimum_usd_per_month=Decimal(800))}
    b, c = counts(900, 10, 25, 65)
    yield make(b, c, inc=DEAR, cand=CHEAP), DecisionSettings(clauses=clauses)
    batch = ThriftShare(way="batch", share=0.5, needs="if it can wait up to a day")
    bound = DecisionSettings(contracts=contracts, requests_per_month=100_000, thrifts=(batch,))
    yield make(b, c, inc=DEAR, cand=CHEAP), bound


def sealed(make, counts, now):
    against = BaselineTest(
        baseline_id="01a2",
        digest=f"sha256:{'5ea1' * 16}",
        sealed_at=now - timedelta(days=40),
        answers=1000,
        alpha=0.05,
        planned=5,
        numbers={"b": 2},
        left=0.034,
    )
    found = make(*counts(900, 10, 25, 65), inc=DEAR, cand=CHEAP)
    yield found, DecisionSettings(alpha=0.008, baseline=replace(against, seen_before=("b", "c")))
    yield found, DecisionSettings(alpha=0.001, baseline=replace(against, numbers={"b": 8}, left=0.001))


def labelled(make, counts, now):
    b, c = counts(360, 110, 20, 110)
    people = {
        name: {"human": np.where(np.arange(600) < 120, column, np.nan)}
        for name, column in (("inc", b), ("cand", c))
    }
    unlabelled = make(b, c, judge="judge-1", inc=DEAR, cand=CHEAP)
    yield unlabelled, DecisionSettings(labels=LabelCounts(drawn=120, labelled=80, skipped=9, left=31))
    counted = LabelCounts(drawn=120, labelled=111, skipped=9, raters=2, hasty=("Ada",), rounds=2)
    yield make(b, c, judge="judge-1", **people), DecisionSettings(alpha=0.025, labels=counted)


def ending(make, counts, now):
    ends = IncumbentEnd(model="a-1", retires_on=date(2027, 1, 14), successor="a-2")
    found = make(*counts(150, 12, 12, 26), inc=DEAR, cand=CHEAP)
    yield found, DecisionSettings(incumbent_end=ends)
    yield found, DecisionSettings(incumbent_end=replace(ends, successor=None, tried="b"))


def tuned(make, counts, now):
    """A round each, so decided at its rate: the gain held up, did not, and was none on development items."""
    lineage = Lineage(
        base="b-base at sha256:0123456789abcdef",
        code_version="0.3.0",
        teacher="t",
        adapter="sha256:0123456789abcdef",
        data={"examples": "sha256:fedcba9876543210"},
        licence="Llama 4 Community License",
        duties=("show Built with Llama",),
        tried=20,
    )
    test = TuningTest(
        tuning_id="t1",
        kind="port",
        candidate="b",
        number=2,
        rounds=3,
        alpha=0.1,
        development=100,
        certification=200,
        touched=100,
        lineage=lineage,
        retention_before=0.6,
        retention_after=0.95,
    )
    for table, each in (
        ((150, 12, 12, 26), test),
        ((100, 62, 12, 26), replace(test, kind="distil", lineage=replace(lineage, teacher=None, duties=()))),
        ((150, 12, 12, 26), replace(test, retention_after=0.6)),
        ((150, 12, 12, 26), replace(test, number=None)),
    ):
        found = make(*counts(*table), inc=DEAR, cand=CHEAP)
        yield found, DecisionSettings(alpha=each.rate or 0.05, tuning=each)


KINDS = (
    switches,
    splits,
    routed,
    keeps,
    undecided,
    judged,
    stopped,
    broken,
    thrifty,
    terms,
    sealed,
    labelled,
    ending,
    agentic,
    tuned,
)


@pytest.fixture(scope="module")
def verdicts(make, counts, now) -> list[Verdict]:
    return [
        decide_policy(found, settings, now=now)
        for kind in KINDS
        for found, settings in kind(make, counts, now)
    ]


def test_a_verdict_of_each_kind_says_what_it_said(verdicts):
    assert {each.name for each in verdicts} == {"switch", "split", "keep", "undecided", "invalid"}
    assert "\n".join(map(render_text, verdicts)) == external_file("../../data/verdicts.txt")


def test_together_they_say_everything_that_a_verdict_can_say(verdicts):
    said = {remark.code for each in verdicts for remark in (*each.reasons, *each.would_change)}
    assert said == listed_remarks()
