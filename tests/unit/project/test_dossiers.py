"""Dossiers of a project: made from its store and files, recorded, checked, written."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from crossgrade.config import InvalidConfigError
from crossgrade.errors import ConfigError, NotFoundError
from crossgrade.evidence import Approval, check_bom
from crossgrade.identity import read_dossiers
from crossgrade.project import Project
from crossgrade.routing import Policy, Route, RouteTable, route_table_digest
from tests.unit.store.test_verdicts import make_verdict

CONFIG = """\
models:
  big: {provider: openai, model: gpt-4.1}
  small: {provider: groq, model: llama, licence: Apache-2.0}
workloads:
  triage:
    dataset: t.jsonl
    scorer: {kind: exact}
    incumbent: big
    candidates: [small]
routes:
  cyber: {workload: triage, gated: true}
access:
  rules:
    - {name: audited, evidence: dossier}
"""
CARD = """\
dossier:
  statements:
    - {field: 4, model: small, text: model card, author: Ada, date: 2026-11-01, file: card.md}
"""
PROSE = "# Small\nIt is very good, trust us.\n"
FRONT = "---\nlicense: apache-2.0\nbase_model: maker/base\ndatasets: [a, b]\nmodel-index:\n- results: [{x: 1}]\n---\nText\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t.jsonl").write_text('{"input": "a", "target": "b"}\n')
    return tmp_path


def opened(folder: Path, more: str = "", config: str = CONFIG) -> Project:
    (folder / "crossgrade.yaml").write_text(config + more)
    return Project.open(folder / "crossgrade.yaml", environ={})


def test_a_dossier_is_recorded_published_and_in_the_ledger(folder: Path) -> None:
    with opened(folder) as project:
        stored = project.dossiers.make("triage")
        (mark,) = read_dossiers((folder / ".crossgrade" / "dossiers.json").read_bytes())
        assert mark == stored.mark
        assert set(mark.models) == {"big", "small"}
        assert project.ledger.entries("dossier", most=1)[0].detail["id"] == stored.id
        assert not project.ledger.verify().findings
        assert project.dossiers.newest("triage").id == stored.id
        assert project.dossiers.check("triage").holds


def test_a_dossier_that_is_changed_or_deleted_in_the_database_is_found(folder: Path) -> None:
    with opened(folder) as project:
        project.dossiers.make("triage")
    database = folder / ".crossgrade" / "crossgrade.db"
    for change, code in [
        ("UPDATE dossiers SET dossier = replace(dossier, 'missing', 'stated')", "decision-differs"),
        ("DELETE FROM dossiers", "decision-missing"),
    ]:
        with sqlite3.connect(database) as connection:
            connection.execute(change)
        connection.close()
        with opened(folder) as project:
            found = [each.code for each in project.ledger.verify().findings]
            assert sorted(found) == sorted([code, "dossiers-differ"])


def test_a_file_for_the_gateway_that_nobody_published_is_found(folder: Path) -> None:
    with opened(folder) as project:
        project.dossiers.make("triage")
        path = folder / ".crossgrade" / "dossiers.json"
        path.write_bytes(path.read_bytes().replace(b"2027", b"2999"))
        assert [each.code for each in project.ledger.verify().findings] == ["dossiers-differ"]


@pytest.mark.parametrize(("key", "wrong"), [("url", "javascript:alert(1)"), ("sha256", "D" * 64)])
def test_what_a_statement_may_hold_is_said_in_its_own_words(folder: Path, key: str, wrong: str) -> None:
    with pytest.raises(InvalidConfigError) as raised:
        opened(folder, CARD.replace("file: card.md", f"file: card.md, {key}: '{wrong}'"))
    (problem,) = raised.value.problems
    assert problem.code == "value-invalid"
    assert "letters" not in problem.message  # as for names


def test_a_dossier_of_the_future_does_not_hold(folder: Path) -> None:
    with opened(folder) as project:
        project.dossiers.make("triage", now=datetime.now(UTC) + timedelta(days=2))
        check = project.dossiers.check("triage")
        assert not check.holds
        assert len(check.reasons) == 1


def test_another_address_of_a_replica_is_another_basis(folder: Path) -> None:
    host = "{provider: openai-compatible, model: m, api_key_env: K, base_url: 'http://10.0.0.%d:1/v1'%s}"
    small = "  small: {provider: groq, model: llama, licence: Apache-2.0}\n"
    config = CONFIG.replace(small, f"  small: {host % (1, ', replicas: [twin]')}\n  twin: {host % (2, '')}\n")
    with opened(folder, config=config) as project:
        project.dossiers.make("triage")
        assert project.dossiers.check("triage").holds
    with opened(folder, config=config.replace("10.0.0.2", "10.0.0.3")) as project:
        assert project.dossiers.check("triage").reasons == ("model of small changed",)


def test_it_expires_with_time_and_with_each_change_of_its_basis(folder: Path) -> None:
    with opened(folder) as project:
        stored = project.dossiers.make("triage")
        later = datetime.now(UTC) + timedelta(days=91)
        assert "expired" in project.dossiers.check("triage", now=later).reasons[0]
    changes = {
        "model": CONFIG.replace("model: llama,", "model: llama-2,"),
        "template": CONFIG.replace("scorer:", "prompt: {user: 'Do: {input}'}\n    scorer:"),
        "settings": CONFIG.replace("scorer:", "settings: {temperature: 1}\n    scorer:"),
        "access": CONFIG.replace("evidence: dossier}", "evidence: dossier, tiers: [a]}"),
    }
    for part, config in changes.items():
        with opened(folder, config=config) as project:
            check = project.dossiers.check("triage")
            assert not check.holds
            assert any(reason.startswith(f"{part} of small") for reason in check.reasons), part
            assert check.stored.id == stored.id
    new = CONFIG.replace("candidates: [small]", "candidates: [small, third]").replace(
        "workloads:", "  third: {provider: groq, model: x}\nworkloads:"
    )
    with opened(folder, config=new) as project:
        assert project.dossiers.check("triage").reasons == ("third is a new model of the workload",)
    gone = new.replace("candidates: [small, third]", "candidates: [third]")
    with opened(folder, config=gone) as project:
        assert project.dossiers.check("triage").reasons == (
            "small is no model of the workload any more",
            "third is a new model of the workload",
        )


def test_the_verdict_on_a_route_ends_it_and_one_that_no_route_follows_is_told(folder: Path) -> None:
    now = datetime.now(UTC)

    def decided(project: Project) -> str:
        verdict = make_verdict(workload="triage", decided_at=now, valid_until=now + timedelta(days=90))
        return project.store.verdicts.append(verdict)

    def follow(project: Project, verdict_id: str | None) -> None:
        keep = Policy(kind="keep", incumbent="big", candidate=None)
        until = now + timedelta(days=30)
        route = Route(
            name="cyber", policy=keep, targets={"big": "big"}, valid_until=until, verdict_id=verdict_id
        )
        table = project.store.routes.current()
        project.store.publish_route(
            RouteTable(version=1, routes=(route,)), None if table is None else route_table_digest(table)
        )

    with opened(folder) as project:
        first = decided(project)
        assert project.dossiers.make("triage").dossier.verdict_id == first
        second = decided(project)
        check = project.dossiers.check("triage")
        assert (check.holds, check.other_verdict_id) == (True, second)
        follow(project, first)
        check = project.dossiers.check("triage")
        assert (check.holds, check.other_verdict_id) == (True, None)
        follow(project, second)
        check = project.dossiers.check("triage")
        assert (check.holds, len(check.reasons), check.other_verdict_id) == (False, 1, second)
        assert "cyber" in check.reasons[0]


def test_a_prose_card_is_attached_and_nothing_is_read_from_it(folder: Path) -> None:
    (folder / "card.md").write_text(PROSE)
    with opened(folder, CARD) as project:
        found = project.dossiers.make("triage").dossier.field(4)
    assert found.status == "stated"
    assert found.attachments[0].sha256 == sha256(PROSE.encode()).hexdigest()
    assert [fact.label for fact in found.facts] == ["stated", "model card"]
    assert "prose" in found.facts[1].text


def test_a_card_with_metadata_is_read_and_its_results_certify_nothing(folder: Path) -> None:
    (folder / "card.md").write_text(FRONT)
    with opened(folder, CARD) as project:
        found = project.dossiers.make("triage").dossier.field(4)
    facts = {fact.label: fact.text for fact in found.facts}
    assert facts["card: license"] == "apache-2.0"
    assert facts["card: datasets"] == "a, b"
    assert "certify nothing" in facts["card: model-index"]
    assert found.status == "stated"


@pytest.mark.parametrize(
    "front",
    [
        "---\na: [\n---\n",
        "---\n- a\n---\n",
        "---\nlicense: &a [*a]\n---\n",
        "---\nnever closed\n",
        "\xff\xfe",
    ],
)
def test_a_damaged_card_is_attached_as_it_is(folder: Path, front: str) -> None:
    (folder / "card.md").write_bytes(front.encode("latin-1"))
    with opened(folder, CARD) as project:
        found = project.dossiers.make("triage").dossier.field(4)
    assert found.status == "stated"
    assert len(found.attachments) == 1
    assert [fact.label for fact in found.facts] == ["stated", "model card"]


@pytest.mark.parametrize("text", ["model card", "model card."])
def test_a_file_that_changed_since_it_was_stated_no_longer_counts(folder: Path, text: str) -> None:
    card = folder / "card.md"
    card.write_text(PROSE)
    with opened(folder, CARD.replace("model card", text)) as project:
        project.dossiers.make("triage")
        card.write_text(PROSE + "Even better.")
        assert [each.code for each in project.dossiers.check("triage").findings] == ["attachment-changed"]
        for _ in range(2):  # the digest that was stated first is remembered
            dossier = project.dossiers.make("triage").dossier
            assert [(each.code, each.field) for each in dossier.findings] == [("attachment-changed", 4)]
            assert dossier.field(4).status == "missing"
            assert "card.md has changed" in dossier.field(4).gaps[0]
        card.write_text(PROSE)
        assert project.dossiers.make("triage").dossier.field(4).status == "stated"
        card.write_text("New.")
    restated = CARD.replace("2026-11-01", "2026-11-02")
    with opened(folder, restated) as project:
        assert project.dossiers.make("triage").dossier.field(4).status == "stated"


def test_a_file_with_another_digest_than_the_stated_one_never_counts(folder: Path) -> None:
    (folder / "card.md").write_text(PROSE)
    with opened(folder, CARD.replace("card.md", f"card.md, sha256: {'ab' * 32}")) as project:
        assert project.dossiers.make("triage").dossier.findings[0].code == "attachment-changed"


@pytest.mark.parametrize("what", ["gone", "folder"])
def test_a_file_that_cannot_be_read_is_a_finding(folder: Path, what: str) -> None:
    if what == "folder":
        (folder / "card.md").mkdir()
    with opened(folder, CARD) as project:
        dossier = project.dossiers.make("triage").dossier
    assert [each.code for each in dossier.findings] == ["attachment-missing"]
    assert dossier.field(4).status == "missing"


def test_a_statement_on_another_workload_is_not_shown(folder: Path) -> None:
    more = CARD.replace("model: small,", "workload: triage,").replace(
        "file: card.md", "url: 'https://x.example'"
    )
    config = CONFIG.replace(
        "routes:",
        "  other: {dataset: t.jsonl, scorer: {kind: exact}, incumbent: big, candidates: [small]}\nroutes:",
    )
    with opened(folder, more, config) as project:
        assert project.dossiers.make("triage").dossier.field(4).status == "stated"
        assert project.dossiers.make("other").dossier.field(4).status == "missing"


def test_a_statement_on_a_model_of_another_workload_is_not_shown(folder: Path) -> None:
    (folder / "card.md").write_text(PROSE)
    third = CONFIG.replace("workloads:", "  third: {provider: groq, model: x}\nworkloads:")
    with opened(folder, CARD.replace("model: small", "model: third"), third) as project:
        assert project.dossiers.make("triage").dossier.field(4).status == "missing"


def test_required_fields_are_named_until_they_are_there(folder: Path) -> None:
    with opened(folder, "dossier: {required: [16, 1]}\n") as project:
        assert project.dossiers.make("triage").dossier.lacks == (16,)
        assert not project.dossiers.check("triage").holds
        approval = Approval(name="Ada", role="risk")
        assert project.dossiers.make("triage", approval=approval).dossier.lacks == ()
        assert project.dossiers.make("triage").dossier.lacks == ()
        assert project.dossiers.check("triage").holds


def test_unknown_names_are_refused_with_their_place(folder: Path) -> None:
    unknown = "dossier:\n  not_applicable:\n    - {framework: eu-ai-act, control: Art. 999, because: x}\n"
    with opened(folder, unknown) as project, pytest.raises(ConfigError) as refused:
        project.dossiers.make("triage")
    assert (refused.value.code, refused.value.line) == ("control-unknown", 17)
    with opened(folder) as project, pytest.raises(NotFoundError):
        project.dossiers.make("support")
    with opened(folder) as project, pytest.raises(NotFoundError) as missing:
        project.dossiers.check("triage")
    assert missing.value.code == "dossier-missing"


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("{field: 0, text: a, author: b, date: 2026-11-01}", "value-out-of-range"),
        ("{field: 17, text: a, author: b, date: 2026-11-01}", "value-out-of-range"),
        ("{field: 4, text: a, author: b, date: 2999-01-01}", "date-future"),
        ("{field: 4, text: a, author: b, date: 2026-11-01, model: nobody}", "model-undefined"),
        ("{field: 4, text: a, author: b, date: 2026-11-01, workload: nobody}", "workload-undefined"),
        ("{field: 4, text: a, author: b, date: 2026-11-01, file: ../x.md}", "path-outside"),
        (f"{{field: 4, text: a, author: b, date: 2026-11-01, sha256: {'ab' * 32}}}", "digest-alone"),
    ],
)
def test_a_wrong_statement_is_refused(folder: Path, statement: str, code: str) -> None:
    with pytest.raises(InvalidConfigError) as refused:
        opened(folder, f"dossier:\n  statements:\n    - {statement}\n")
    assert code in {each.code for each in refused.value.problems}


def test_it_is_written_as_a_page_as_cyclonedx_and_as_json(folder: Path, tmp_path: Path) -> None:
    with opened(folder) as project:
        stored = project.dossiers.make("triage")
        project.ledger.make_key("us.example/dossiers")
        written = project.dossiers.write(stored, tmp_path / "out")
        (note,) = [path.read_text() for path in written if path.suffix == ".note"]
        assert stored.digest in note
        project.dossiers.write(stored, tmp_path / "out")  # again
    check_bom(json.loads((tmp_path / "out" / "dossier.cdx.json").read_text()))
    content = (tmp_path / "out" / "dossier.json").read_bytes()
    assert f"sha256:{sha256(content).hexdigest()}" == stored.digest
    page = (tmp_path / "out" / "dossier.html").read_text()
    assert stored.id in page.replace("<wbr>", "")
    assert "conformity" in page
