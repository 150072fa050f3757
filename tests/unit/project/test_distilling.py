"""Distilling a candidate of a project: what trains, what checks, what is tested once, and what is refused."""

import hashlib
import json
import sqlite3
import sys
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from crossgrade.dialects import Embeddings
from crossgrade.domain import ModelAnswer, Usage
from crossgrade.project import DistilOptions, DistilProgress, PortOptions, Project
from crossgrade.project._traffic import subject_key
from crossgrade.project._tuned import touched_samples, tuned_requests
from crossgrade.tuning import TrainingSettings, _training
from crossgrade.workloads.traffic import subject_of
from tests.codes import raises_code, said
from tests.unit.tuning.test_lora_file import adapter, safetensors
from tests.unit.tuning.test_training import CHILD
from tests.unit.tuning.tiny_llama import write_llama

TEAMS = ("billing", "delivery", "account", "technical")

CONFIG = """\
models:
  big: {provider: local, model: big.gguf, licence: MIT, prices: [{input_per_mtok: 10, output_per_mtok: 10}]}
  small: {provider: local, model: small.gguf, licence: MIT, prices: [{input_per_mtok: 1, output_per_mtok: 1}]}
  mentor: {provider: local, model: mentor.gguf, licence: MIT, prices: [{input_per_mtok: 5, output_per_mtok: 5}]}
  closed: {provider: openai, model: gpt-4o}
workloads:
  tickets:
    dataset: tickets.jsonl
    id_field: id
    target_field: target
    prompt: {text: true, user: "{ticket} =>"}
    settings: {max_output_tokens: 8, stop: ["\\n"]}
    scorer: {kind: exact}
    incumbent: big
    candidates: [small]
    planned: 120
    mode: fixed
    alpha: 0.1
    rounds: 3
    requests_per_month: 100000
"""

OPTIONS = DistilOptions(training=TrainingSettings(steps=12, save_every=5))


def share(text, salt):
    """A number in [0, 1) that depends on a text alone."""
    return int.from_bytes(hashlib.sha256(f"{salt}{text}".encode()).digest()[:4], "big") / 2**32


class Scripted:
    """A model that is right on a share of the tickets; with an adapter on another."""

    def __init__(self, offer, asked, skill):
        self.name, self.base_url, self.places, self.account = offer.name, None, 4, offer.name
        self.identity = f"{offer.model} {offer.adapter}"
        self._offer, self._asked, self._skill = offer, asked, skill

    async def ask(self, request):
        ticket = request.text.removesuffix(" =>")
        self._asked.append((self._offer.name, self._offer.adapter, ticket))
        right = share(ticket, f"{self.name}{bool(self._offer.adapter)}") < self._skill
        team = TEAMS[int(share(ticket, "team") * 4)]
        text = team if right else TEAMS[TEAMS.index(team) - 1]
        return ModelAnswer(text=f" {text}", usage=Usage(input_tokens=20, output_tokens=2))

    async def embed(self, texts):
        return Embeddings(vectors=(), usage=Usage())


class Scripts(Project):
    """A project whose models are scripted: `skills` by name, with `+` for the model with an adapter."""

    skills = {"big": 0.9, "small": 0.4, "small+": 0.95, "mentor": 0.95}  # noqa: RUF012

    @property
    def open_provider(self):
        self.asked = getattr(self, "asked", [])

        @asynccontextmanager
        async def opened(offer, **_):
            yield Scripted(offer, self.asked, self.skills[offer.name + ("+" if offer.adapter else "")])

        return opened


def tickets(count):
    rng = np.random.default_rng(3)
    words = ["".join(rng.choice(list("abcdefghijklmnoprstuvw"), size=rng.integers(4, 9))) for _ in range(900)]
    for number in range(count):
        ticket = " ".join(rng.choice(words, size=12))
        yield {"id": f"t{number:03}", "ticket": ticket, "target": TEAMS[int(share(ticket, "team") * 4)]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(_training, "NEEDED", ())
    monkeypatch.setattr(_training, "CHILD", (sys.executable, "-c", CHILD))
    monkeypatch.setenv("ADAPTER", str(safetensors(tmp_path / "ready", adapter(np.random.default_rng(1)))))
    monkeypatch.setenv("PLAN", "{}")
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    (tmp_path / "tickets.jsonl").write_text("".join(json.dumps(each) + "\n" for each in tickets(300)))
    for name in ("big", "small", "mentor"):
        write_llama(tmp_path / f"{name}.gguf")
    return tmp_path


def opened(folder, text=CONFIG):
    (folder / "crossgrade.yaml").write_text(text)
    return Scripts.open(folder / "crossgrade.yaml", environ={})


def decided(folder, text=CONFIG):
    """A project whose workload was decided on as it is configured."""
    project = opened(folder, text)
    assert project.decide("tickets", run_id=project.evaluate("tickets").run_id).verdict.name == "keep"
    return project


def test_trains_on_touched_samples_and_tests_once_on_fresh_ones(folder):
    with decided(folder) as project:
        before = {ticket for _, _, ticket in project.asked}
        plan = project.distil.plan("tickets", "small", OPTIONS)
        certification = set(plan.basis.split.certification)
        assert plan.basis.number == 2
        assert {each.id for each in (*plan.training, *plan.checking)}.isdisjoint(certification)
        project.asked.clear()
        heard = []
        found = project.distil.run(plan, progress=DistilProgress(trained=heard.append))
        assert len(heard) == 12
        assert {each.sample_id for each in found.training_set.examples}.isdisjoint(certification)
        assert found.training_set.origins == {"label": len(plan.training)}
        assert found.checked.items == len(plan.checking)
        assert found.checked.has_gain
        verdict = found.verdict.verdict
        assert verdict.name == "switch"
        assert verdict.settings.alpha == pytest.approx(0.025)
        tested = {ticket for name, _, ticket in project.asked if name == "big"}
        assert tested.isdisjoint(before)
        assert len(tested) == len(certification)
        assert {used for name, used, ticket in project.asked if ticket in tested and name == "small"} == {
            found.adapter
        }
        assert project.verify(found.verdict.id).holds
        lineage = verdict.settings.tuning.lineage
        assert (lineage.adapter, lineage.licence) == (f"sha256:{found.trained.sha256}", "MIT")
        assert set(lineage.data) == {"base", "development", "training"}
        for code in ("tuned-candidate", "tuning-lineage", "gain-held"):
            assert said(verdict.reasons, code)


def test_the_same_command_again_repeats_nothing(folder):
    with decided(folder) as project:
        first = project.distil.run(project.distil.plan("tickets", "small", OPTIONS))
        project.asked.clear()
        with raises_code("rounds-spent"):
            # Two further rounds were planned. The first is spent, the last is there for another try.
            for seed in (2, 3):
                options = replace(OPTIONS, training=replace(OPTIONS.training, seed=seed))
                project.distil.run(project.distil.plan("tickets", "small", options))
        assert first.verdict is not None


def test_an_interrupted_training_goes_on_in_its_round(folder, monkeypatch):
    with decided(folder) as project:
        plan = project.distil.plan("tickets", "small", OPTIONS)
        monkeypatch.setenv("PLAN", '{"at": 8, "how": "raise"}')
        with raises_code("training-ended"):
            project.distil.run(plan)
        monkeypatch.setenv("PLAN", "{}")
        again = project.distil.plan("tickets", "small", OPTIONS)
        assert again.basis.split == plan.basis.split
        assert again.basis.number == plan.basis.number
        steps = []
        found = project.distil.run(again, progress=DistilProgress(trained=steps.append))
        assert [each.step for each in steps] == list(range(6, 13))
        assert found.trained.parts == 2


def test_without_a_gain_nothing_is_tested_and_the_round_is_left(folder):
    with decided(folder) as project:
        project.skills = {**Scripts.skills, "small+": 0.0}
        found = project.distil.run(project.distil.plan("tickets", "small", OPTIONS))
        assert found.verdict is None
        assert not found.checked.has_gain
        again = replace(OPTIONS, training=replace(OPTIONS.training, seed=2))
        assert project.distil.plan("tickets", "small", again).basis.number == 2


def test_learns_only_answers_of_a_teacher_that_the_scorer_accepts(folder):
    text = CONFIG.replace(
        "licence: MIT, prices: [{input_per_mtok: 10", "licence: MIT, prices: [{input_per_mtok: 10"
    )
    with decided(folder, text) as project:
        plan = project.distil.plan("tickets", "small", replace(OPTIONS, teacher="big"))
        assert plan.teaching.ground == "licence MIT"
        found = project.distil.run(plan)
        assert found.lineage.teacher == "big"
        assert found.training_set.left_out["answer not accepted"] > 0
        by_id = {each.id: each for each in plan.training}
        assert all(each.answer == by_id[each.sample_id].target for each in found.training_set.examples)
        usd = Decimal("0.000022")  # of an answer; those of the teacher were paid for before
        assert found.answers_usd == usd * len(plan.checking)


def test_a_teacher_must_be_known_to_be_allowed(folder):
    with decided(folder) as project, raises_code("teacher-forbidden", "closed"):
        project.distil.plan("tickets", "small", replace(OPTIONS, teacher="closed"))
    stated = (
        "team:\n  teachers: [{model: closed, status: permitted, source: contract 7, stated_on: 2026-11-01}]\n"
    )
    with opened(folder, CONFIG + stated) as project:
        plan = project.distil.plan("tickets", "small", replace(OPTIONS, teacher="closed"))
        assert "contract 7" in plan.teaching.ground
    refused = stated.replace("permitted", "forbidden")
    with opened(folder, CONFIG + refused) as project, raises_code("teacher-forbidden", "closed"):
        project.distil.plan("tickets", "small", replace(OPTIONS, teacher="closed"))


def test_near_copies_of_certification_items_never_train(folder):
    rows = list(tickets(300))
    for place in range(0, 240, 2):  # twins far apart in the file, with one word changed
        words = rows[place]["ticket"].split()
        rows[place + 1] = {**rows[place + 1], "ticket": " ".join([*words[:-1], words[-1][::-1]])}
        rows[place + 1]["target"] = TEAMS[int(share(rows[place + 1]["ticket"], "team") * 4)]
    (folder / "tickets.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    with decided(folder) as project:
        plan = project.distil.plan("tickets", "small", OPTIONS)
        trained = {each.sample_id for each in project.distil.run(plan).training_set.examples}
        tested = {int(each[1:]) // 2 for each in plan.basis.split.certification if int(each[1:]) < 240}
        assert trained
        assert tested.isdisjoint(int(each[1:]) // 2 for each in trained if int(each[1:]) < 240)


def test_only_a_model_of_this_machine_is_trained(folder):
    text = CONFIG.replace("candidates: [small]", "candidates: [closed]")
    with opened(folder, text) as project, raises_code("distil-not-local", "closed"):
        project.distil.plan("tickets", "closed", OPTIONS)


def test_what_does_not_fit_is_refused_before_it_begins(folder, monkeypatch):
    huge = replace(OPTIONS, training=replace(OPTIONS.training, batch=1024, max_tokens=100_000))
    with decided(folder) as project, raises_code("training-out-of-memory"):
        project.distil.plan("tickets", "small", huge)


def without_ids(folder, *, column=False):
    """Write the tickets without ids, so that an id is a hash of the row; with one more column if wanted."""
    rows = [{key: each[key] for key in ("ticket", "target")} for each in tickets(300)]
    rows = [{**each, "source": f"mail {at}"} if column else each for at, each in enumerate(rows)]
    (folder / "tickets.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))


def test_samples_that_were_asked_are_known_again_when_a_column_is_added(folder):
    text = CONFIG.replace("    id_field: id\n", "")
    without_ids(folder)
    with decided(folder, text) as project:
        asked = {ticket for _, _, ticket in project.asked}
        before = project.distil.plan("tickets", "small", OPTIONS).basis
        port = project.porting.plan("tickets", "small", PortOptions(development=150)).basis
        assert len(port.split.development) > len(asked)
        by_id = {each.id: each.fields["ticket"] for each in port.dataset.samples}
        tuned = {by_id[each] for each in port.split.development}
        project.porting.begin(port)  # which tunes on items that no run has asked
    without_ids(folder, column=True)
    with opened(folder, text) as project:
        basis = project.distil.plan("tickets", "small", OPTIONS).basis
        by_id = {each.id: each.fields["ticket"] for each in basis.dataset.samples}
        assert set(by_id).isdisjoint(before.split.development)
        testing = {by_id[each] for each in (*basis.split.certification, *basis.split.reserved)}
        assert testing.isdisjoint(asked | tuned)
        assert {by_id[each] for each in basis.split.development} >= asked | tuned


def test_a_run_whose_prompt_is_of_another_version_is_no_hindrance(folder):
    with decided(folder) as project:
        (run,) = project.store.runs.recent("tickets")
        place = project.config.store
    settings = json.loads(json.dumps(run.settings))
    settings["candidates"][0]["prompt"]["of_a_later_version"] = 1
    with closing(sqlite3.connect(place)) as database, database:
        database.execute("UPDATE runs SET settings = ?", (json.dumps(settings),))
    with opened(folder) as project:
        workload = project.workload("tickets")
        touched = touched_samples(project.store, workload, project.dataset(workload).samples)
        assert touched == project.store.answers.samples_of_run(run.id)


def test_a_trained_adapter_is_known_by_its_content_wherever_it_lies(folder):
    with decided(folder) as project:
        found = project.distil.run(project.distil.plan("tickets", "small", OPTIONS))
    (folder / "renamed.gguf").write_bytes((folder / found.adapter).read_bytes())
    moved = CONFIG.replace("model: small.gguf,", "model: small.gguf, adapter: renamed.gguf,")
    with opened(folder, moved) as project, raises_code("candidate-tuned", "small"):
        project.evaluate("tickets")


def test_an_adapter_without_a_gain_cannot_be_tested_on_what_it_learned_either(folder):
    with decided(folder) as project:
        project.skills = {**Scripts.skills, "small+": 0.0}
        found = project.distil.run(project.distil.plan("tickets", "small", OPTIONS))
        assert found.verdict is None
    given = CONFIG.replace("model: small.gguf,", f"model: small.gguf, adapter: {found.adapter},")
    with opened(folder, given) as project, raises_code("candidate-tuned", "small"):
        project.evaluate("tickets")


def forgotten(folder):
    """Remove the first person's tickets, of those that each tenth person wrote."""
    with opened(folder) as project:
        return project.traffic.forget("person 1")


def test_a_person_is_forgotten_in_training_sets_and_in_a_teachers_answers(folder):
    key = subject_key(folder)
    rows = [{**row, "subject": subject_of(f"person {at % 10}", key)} for at, row in enumerate(tickets(300))]
    (folder / "tickets.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    gone = {each["id"] for each in rows[1::10]}
    words = [each["ticket"].encode() for each in rows[1::10]]
    with decided(folder) as project:
        taught = replace(OPTIONS, teacher="mentor")
        plan = project.distil.plan("tickets", "small", taught)
        found = project.distil.run(plan)
        asked = project.asked.copy()
        digests = set(tuned_requests(project.store, "tickets", gone))
        learned = gone & {each.sample_id for each in found.training_set.examples}
        assert learned
        assert len(project.store.answers.paid(digests)) == len(digests) > 0
    assert any(name == "mentor" for name, _, _ in asked)
    result = forgotten(folder)
    assert dict(result.adapters) == {found.adapter: len(learned)}
    with opened(folder) as project:
        assert project.store.answers.paid(digests) == {}
        about = {each.id for each in plan.training} - gone
        assert project.store.answers.paid(tuned_requests(project.store, "tickets", about))
    left = [path for path in folder.rglob("*") if path.is_file() and path.suffix in {".jsonl", ".db"}]
    assert len(left) >= 3
    assert not [path for path in left for each in words if each in path.read_bytes()]


def test_a_training_that_was_not_finished_is_forgotten_whole(folder, monkeypatch):
    key = subject_key(folder)
    rows = [{**row, "subject": subject_of(f"person {at % 10}", key)} for at, row in enumerate(tickets(300))]
    (folder / "tickets.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    with decided(folder) as project:
        monkeypatch.setenv("PLAN", '{"at": 8, "how": "raise"}')
        with raises_code("training-ended"):
            project.distil.run(project.distil.plan("tickets", "small", OPTIONS))
    assert list(folder.rglob("checkpoint-*.pt"))
    assert forgotten(folder).adapters == {}
    assert not list(folder.rglob("checkpoint-*.pt"))
    assert not list(folder.rglob("examples.jsonl"))


def test_nobody_is_forgotten_while_a_candidate_learns_from_them(folder):
    key = subject_key(folder)
    rows = [{**row, "subject": subject_of("person 1", key)} for row in tickets(300)]
    (folder / "tickets.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    with decided(folder) as project, project.store.tunings.tuning("tickets"):
        with raises_code("tuning-locked"):
            forgotten(folder)
        assert len(project.dataset(project.workload("tickets")).samples) == 300


def test_a_teacher_without_a_price_is_refused_under_a_limit(folder):
    text = CONFIG.replace("licence: MIT, prices: [{input_per_mtok: 5, output_per_mtok: 5}]", "licence: MIT")
    with decided(folder, text) as project:
        plan = project.distil.plan("tickets", "small", replace(OPTIONS, teacher="mentor"))
        assert plan.cost_usd is None
        with raises_code("price-unknown-under-limit", "mentor"):
            project.distil.run(plan, max_cost_usd=Decimal(9))
        assert "mentor" not in {name for name, _, _ in project.asked}


def test_what_a_teacher_and_the_test_cost_is_said_before(folder):
    with decided(folder) as project:
        alone = project.distil.plan("tickets", "small", OPTIONS)
        taught = project.distil.plan("tickets", "small", replace(OPTIONS, teacher="mentor"))
        found = project.distil.run(taught)
        asked = [name for name, _, _ in project.asked]
        # An answer takes 20 and 2 tokens, of which the mentor's cost half as much as the incumbent's.
        mentor = Decimal("0.00011") * asked.count("mentor")
        assert taught.cost_usd[1] >= alone.cost_usd[1] + mentor / 2
        assert taught.cost_usd[1] >= found.answers_usd
        assert alone.cost_usd[0] > 0
    with opened(
        folder,
        CONFIG.replace("licence: MIT, prices: [{input_per_mtok: 5, output_per_mtok: 5}]", "licence: MIT"),
    ) as project:
        ended = project.distil.plan("tickets", "small", replace(OPTIONS, teacher="mentor"))
        assert (ended.basis.has_ended, ended.cost_usd) == (True, (0, 0))
