"""Verdicts as folders: each kind is computed again from its folder alone, and what was changed is named."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossgrade
from crossgrade.decide import (
    DecisionSettings,
    Evidence,
    TrafficComparison,
    compare_traffic,
    decide_policy,
    train_router,
    verdict_to_json,
)
from crossgrade.domain import BaselineTest
from crossgrade.errors import DataError, UsageError
from crossgrade.ledger import NoteSigner
from crossgrade.project import ExportCheck, Project, verify_export
from crossgrade.project._export_folder import MOST_CONTAINERS, read_json
from crossgrade.stats import METHOD_VERSION
from crossgrade.store import StoredVerdict
from tests.codes import check_error, listed, raises_code
from tests.unit.decide.conftest import evidence as made
from tests.unit.decide.test_drift import _side
from tests.unit.decide.test_router import evidence as routed
from tests.unit.project.test_verifying import GRADES, certified
from tests.unit.project.test_verifying import evidence as scored

NOW = datetime(2026, 11, 29, 7, 30, tzinfo=UTC)
SECRET = "What is the salary of"
CONFIG = """\
models:
  old: {provider: openai-compatible, model: x, base_url: "http://127.0.0.1:9/v1"}
  new: {provider: openai-compatible, model: y, base_url: "http://127.0.0.1:9/v1"}
workloads:
  support: {dataset: x.jsonl, scorer: {kind: exact}, incumbent: old, candidates: [new]}
"""


@pytest.fixture
def project(tmp_path: Path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "crossgrade.yaml").write_text(CONFIG)
    with Project.open(folder / "crossgrade.yaml", environ={}) as opened:
        yield opened


@pytest.fixture
def signer(project: Project) -> NoteSigner:
    """The key of the project's ledger."""
    return project.store.ledger.secrets.make("example.com/ledger")


def record(project: Project, found: Evidence, settings: DecisionSettings | None = None) -> str:
    verdict = decide_policy(found, settings or DecisionSettings(), now=NOW)
    return project.store.verdicts.append(verdict, found)


def with_texts(n: int = 300) -> Evidence:
    """A candidate that keeps nearly all, on samples whose texts nobody else may read."""
    found = scored(np.where(np.arange(n) % 25, 1.0, 0.5))

    def texts(what: str) -> Any:
        return np.array([f"{SECRET} {what} number {at}?" for at in range(n)], dtype=object)

    return replace(
        found,
        input=texts("the person"),
        target=texts("target"),
        incumbent=replace(found.incumbent, output=texts("old")),
        candidates=(replace(found.candidates[0], output=texts("new")),),
    )


def judged() -> Evidence:
    """Scores of a judge on a segment's samples, of which people labelled some, drawn with probabilities."""
    rng = np.random.default_rng(5)
    n = 400
    b, c = ((rng.random(n) < 0.9).astype(float) for _ in range(2))
    labelled = rng.random(n) < 0.5
    return replace(
        made(
            b, c, judge="judge", segment=rng.choice(["mail", "chat"], n).tolist(), cluster=[f"c{at // 2}" for at in range(n)],
            inc={"human": np.where(labelled, b, np.nan), "cost_usd": 0.01},
            cand={"human": np.where(labelled, c, np.nan), "cost_usd": 0.001},
        ),
        label_probability=np.where(np.arange(n) % 3, 0.5, 0.25),
    )  # fmt: skip


def recent() -> DecisionSettings:
    """Settings that compare the samples with recent traffic."""
    traffic: TrafficComparison = compare_traffic(_side(1000, 100), _side(500, 110), source="a log")
    return DecisionSettings(traffic=traffic)


def sealed() -> DecisionSettings:
    """Settings of a candidate against a sealed baseline whose results were not shown."""
    return DecisionSettings(
        baseline=BaselineTest(
            baseline_id="b-1", digest="sha256:00", sealed_at=NOW, answers=300, alpha=0.05, planned=5,
            numbers={"new": 1}, left=0.04,
        )
    )  # fmt: skip


def trained() -> Evidence:
    return train_router(routed(), DecisionSettings(mode="fixed"))


KINDS: dict[str, tuple[str, Callable[[], Evidence], DecisionSettings | None]] = {
    "switch": ("switch", with_texts, None),
    "keep": ("keep", lambda: scored(np.where(np.arange(300) % 2, 1.0, 0.0)), None),
    "undecided": ("undecided", lambda: scored(GRADES), None),
    "invalid": ("invalid", lambda: scored(np.where(np.arange(300) % 2, 7.0, 0.0)), None),
    "split by a router": ("split", trained, DecisionSettings(mode="fixed")),
    "router that can grow": ("split", trained, DecisionSettings(mode="fixed", grow=True)),
    "labels": ("switch", judged, None),
    "recent traffic": ("switch", with_texts, recent()),
    "sealed baseline": ("switch", with_texts, sealed()),
    "in order": ("switch", lambda: replace(with_texts(), order=np.random.default_rng(2).permutation(300)), DecisionSettings(mode="sequential")),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_verdict_is_computed_again_from_its_folder(project: Project, tmp_path: Path, kind: str):
    name, evidence, settings = KINDS[kind]
    identifier = record(project, evidence(), settings)
    recorded = project.store.verdicts.get(identifier).verdict
    assert recorded.name == name
    written = project.export_verdict(identifier, tmp_path / "out")
    assert (written.verdict_id, written.signed_by, written.unchecked) == (identifier, None, ())
    project.close()
    check = verify_export(tmp_path / "out")
    assert check.holds, check.findings
    found = check.verification
    assert found is not None
    assert (found.rounded, found.plugins, found.unchecked, check.versions) == (0, (), (), ())
    assert found.verdict_id == identifier
    for field in (
        "name",
        "evidence_digest",
        "certificates",
        "costs",
        "saving_per_month_usd",
        "policy",
        "guards",
    ):
        assert getattr(found.today, field) == getattr(recorded, field), field
    assert SECRET.encode() not in b"".join(each.read_bytes() for each in (tmp_path / "out").iterdir())


def test_texts_are_in_the_folder_only_if_they_are_asked_for(project: Project, tmp_path: Path):
    identifier = record(project, with_texts())
    project.export_verdict(identifier, tmp_path / "with", with_texts=True)
    assert SECRET in (tmp_path / "with" / "evidence.json").read_text()
    assert SECRET in (tmp_path / "with" / "verdict.json").read_text()
    check = verify_export(tmp_path / "with")
    assert check.holds
    assert check.manifest.with_texts
    assert check.verification is not None
    assert check.verification.today.losses[0].input is not None
    project.export_verdict(identifier, tmp_path / "without")
    losses = json.loads((tmp_path / "without" / "verdict.json").read_text())["losses"]
    assert losses
    assert {each["input"] for each in losses} == {None}


def test_the_same_verdict_gives_the_same_bytes(project: Project, tmp_path: Path, signer: NoteSigner):
    identifier = record(project, with_texts())
    contents = []
    for name in ("one", "two"):
        project.export_verdict(identifier, tmp_path / name)
        contents.append({each.name: each.read_bytes() for each in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]
    assert sorted(contents[0]) == [
        "README.md",
        "evidence.json",
        "manifest.json",
        "signature.note",
        "verdict.json",
    ]


def test_another_process_in_another_folder_verifies_it_without_the_project(project: Project, tmp_path: Path):
    identifier = record(project, with_texts())
    project.export_verdict(identifier, tmp_path / "out")
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "out").rename(elsewhere)
    (project.config.root / "crossgrade.yaml").unlink()
    code = (
        "import sys, socket\n"
        "socket.socket.connect = None\n"
        "from crossgrade.project import verify_export\n"
        "check = verify_export(sys.argv[1])\n"
        "assert check.holds and check.verification.rounded == 0, check\n"
        "assert 'sqlalchemy' not in sys.modules and 'aiohttp' not in sys.modules\n"
        "print(check.verification.today.evidence_digest)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(crossgrade.__file__).parents[1])}
    command = [sys.executable, "-c", code, str(elsewhere)]
    ran = subprocess.run(command, cwd="/", env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == project.store.verdicts.get(identifier).verdict.evidence_digest


def test_a_signature_is_by_the_key_that_was_named(project: Project, tmp_path: Path, signer: NoteSigner):
    identifier = record(project, with_texts())
    written = project.export_verdict(identifier, tmp_path / "out")
    assert written.signed_by == signer.vkey
    assert signer.vkey in (tmp_path / "out" / "README.md").read_text()
    assert signer.text not in "".join(each.read_text() for each in (tmp_path / "out").iterdir())
    check = verify_export(tmp_path / "out", key=signer.vkey)
    assert (check.holds, check.signed_by, check.unchecked_signers) == (True, (signer.name,), ())
    check = verify_export(tmp_path / "out")
    assert (check.holds, check.signed_by, check.unchecked_signers) == (True, (), (signer.name,))
    for name in (signer.name, "example.com/other"):  # another key, also under the same name
        codes_of(verify_export(tmp_path / "out", key=NoteSigner.generate(name).vkey), "note-unsigned")


def test_a_signature_that_is_missing_changed_or_of_another_manifest(project, tmp_path, signer):
    identifier = record(project, with_texts())
    out, note = tmp_path / "out", tmp_path / "out" / "signature.note"
    project.export_verdict(identifier, out)
    right = note.read_text()
    note.write_text(signer.sign("crossgrade-export/v1\nmanifest sha256:" + "0" * 64 + "\n"))
    codes_of(verify_export(out, key=signer.vkey), "export-signature-other")
    codes_of(verify_export(out), "export-signature-other")
    lines = right.splitlines()
    note.write_text("\n".join([*lines[:-1], lines[-1][:-8] + "AAAAAA==", ""]))
    codes_of(verify_export(out, key=signer.vkey), "note-signature-wrong")
    note.write_text(right.replace("\n\n", "\n"))
    codes_of(verify_export(out), "note-malformed")
    note.write_bytes(b"\0" * 2_000_000)
    codes_of(verify_export(out), "note-malformed")
    note.unlink()
    codes_of(verify_export(out, key=signer.vkey), "export-unsigned")
    assert verify_export(out).holds
    with raises_code("note-key-invalid"):
        verify_export(out, key="no key")


def codes_of(check: ExportCheck, *wanted: str) -> None:
    """Check that a folder does not hold, why, and that nothing was computed from what is not as signed."""
    assert not check.holds
    assert [each.code for each in check.findings] == list(wanted)
    for each in check.findings:
        assert {kind.__name__ for kind in type(each).__mro__} & set(listed()[each.code].split(", "))
        assert each.hint


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StoredVerdict]:
    folder = tmp_path_factory.mktemp("exported")
    (folder / "crossgrade.yaml").write_text(CONFIG)
    with Project.open(folder / "crossgrade.yaml", environ={}) as project:
        identifier = record(project, with_texts())
        project.export_verdict(identifier, folder / "out")
        return folder / "out", project.store.verdicts.get(identifier)


@pytest.fixture
def out(exported: tuple[Path, StoredVerdict], tmp_path: Path) -> Path:
    """The folder of a verdict, unsigned: whoever changes it can change its manifest, too."""
    return shutil.copytree(exported[0], tmp_path / "out")


def put(out: Path, name: str, content: bytes) -> None:
    """Change a file, and let the manifest say so."""
    (out / name).write_bytes(content)
    manifest = json.loads((out / "manifest.json").read_text())
    listed = [each for each in manifest["files"] if each["name"] != name]
    listed.append({"name": name, "bytes": len(content), "sha256": sha256(content).hexdigest()})
    (out / "manifest.json").write_text(json.dumps({**manifest, "files": listed}))


def change(out: Path, name: str, edit: Callable[[Any], object]) -> None:
    """Change the JSON of a file."""
    tree = json.loads((out / name).read_text())
    edit(tree)
    content = json.dumps(tree).encode()
    (out / name).write_bytes(content) if name == "manifest.json" else put(out, name, content)


def test_a_changed_byte_is_named_with_its_file(out: Path):
    for name in ("README.md", "evidence.json", "verdict.json"):
        content = (out / name).read_bytes()
        for changed in (content[:-2] + b"x\n", content + b" ", content[:-1]):
            (out / name).write_bytes(changed)
            check = verify_export(out)
            codes_of(check, "export-file-differs")
            check_error(check.findings[0], "export-file-differs", file=name)
            assert check.verification is None
        (out / name).write_bytes(content)
    assert verify_export(out).holds


def test_files_that_are_missing_additional_or_no_files(out: Path, tmp_path: Path):
    (out / "extra.json").write_text("{}")
    check = verify_export(out)
    codes_of(check, "export-file-additional")
    check_error(check.findings[0], "export-file-additional", file="extra.json")
    (out / "extra.json").unlink()
    (out / "folder").mkdir()
    codes_of(verify_export(out), "export-file-additional")
    (out / "folder").rmdir()
    content = (out / "evidence.json").read_bytes()
    (out / "evidence.json").unlink()
    codes_of(verify_export(out), "export-file-missing")
    (tmp_path / "same.json").write_bytes(content)
    (out / "evidence.json").symlink_to(tmp_path / "same.json")
    codes_of(verify_export(out), "export-file-irregular")
    (out / "evidence.json").unlink()
    os.mkfifo(out / "evidence.json")
    codes_of(verify_export(out), "export-file-irregular")
    (out / "evidence.json").unlink()
    (out / "evidence.json").mkdir()
    codes_of(verify_export(out), "export-file-irregular")


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda tree: tree.update(v=2), "export-too-new"),
        (lambda tree: tree.update(v=0), "export-unreadable"),
        (lambda tree: tree.update(v="1"), "export-unreadable"),
        (lambda tree: tree.pop("v"), "export-unreadable"),
        (lambda tree: tree.update(kind="other"), "export-unreadable"),
        (lambda tree: tree["files"].append(tree["files"][0]), "export-unreadable"),
        (lambda tree: tree["files"][0].update(name="../verdict.json"), "export-unreadable"),
        (lambda tree: tree["files"][0].update(name="/etc/passwd"), "export-unreadable"),
        (lambda tree: tree["files"][0].update(name=".."), "export-unreadable"),
        (lambda tree: tree["files"][0].update(name="a\nb"), "export-unreadable"),
        (lambda tree: tree["files"][0].update(name="manifest.json"), "export-unreadable"),
        (lambda tree: tree["files"][0].update(name="signature.note"), "export-unreadable"),
        (lambda tree: tree["files"][0].update(bytes=10**15), "export-unreadable"),
        (lambda tree: tree["files"][0].update(bytes=-1), "export-unreadable"),
        (lambda tree: tree["files"][0].update(sha256="00"), "export-unreadable"),
        (lambda tree: tree.update(files=[{**tree["files"][0], "name": f"f{at}", "bytes": 2**27} for at in range(4)]), "export-unreadable"),
        (lambda tree: tree.update(files=[{**tree["files"][0], "name": f"f{at}"} for at in range(1000)]), "export-unreadable"),
        (lambda tree: tree.update(versions={f"p{at}": "1" for at in range(1000)}), "export-unreadable"),
        (lambda tree: tree.update(files=[each for each in tree["files"] if each["name"] != "evidence.json"]), "export-file-additional"),
    ],
)  # fmt: skip
def test_a_hostile_manifest_is_refused(out: Path, edit: Callable[[Any], object], code: str):
    change(out, "manifest.json", edit)
    if code == "export-file-additional":
        codes_of(verify_export(out), code)
        (out / "evidence.json").unlink()
        code = "export-file-missing"
    with raises_code(code):
        verify_export(out)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[]", b"null", b"\xff", b"[" * 200_000, b'{"v": 1, "v": 1}', b'{"v": NaN}', b" " * 2_000_000,
        b'{"v": ' + b"9" * 5_000 + b"}",
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(out: Path, text: bytes):
    (out / "manifest.json").write_bytes(text)
    with raises_code("export-unreadable", file="manifest.json"):
        verify_export(out)


def test_what_is_no_export_is_refused(tmp_path: Path, out: Path):
    with raises_code("export-missing"):
        verify_export(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with raises_code("export-missing"):
        verify_export(tmp_path / "empty")
    with raises_code("export-missing"):
        verify_export(out / "verdict.json")
    (out / "manifest.json").rename(tmp_path / "manifest.json")
    (out / "manifest.json").symlink_to(tmp_path / "manifest.json")
    with raises_code("export-file-irregular"):
        verify_export(out)


@pytest.mark.parametrize("name", ["verdict.json", "evidence.json"])
@pytest.mark.parametrize(
    ("edit", "codes"),
    [
        (lambda text: b'{"workload": "x", ' + text[1:], {"export-unreadable"}),
        (lambda text: text.replace(b"1.0", b"NaN", 1), {"export-unreadable"}),
        (lambda text: text.replace(b"1.0", b"Infinity", 1), {"export-unreadable"}),
        (lambda text: text.replace(b"1.0", b"9" * 5_000, 1), {"export-unreadable"}),
        (lambda text: text[:-3], {"export-unreadable"}),
        (lambda text: b"[" * 100_000, {"export-unreadable"}),
        (lambda text: b"[]", {"verdict-too-new", "evidence-too-new"}),
        (lambda text: b'{"schema_version": 99}', {"verdict-too-new", "evidence-too-new"}),
    ],
)  # fmt: skip
def test_hostile_json_is_refused_with_its_file(
    out: Path, name: str, edit: Callable[[bytes], bytes], codes: set[str]
):
    put(out, name, edit((out / name).read_bytes()))
    with pytest.raises(DataError) as caught:
        verify_export(out)
    assert caught.value.code in codes
    check_error(caught.value, caught.value.code, file=name)


def first(tree: Any) -> Any:
    return tree["candidates"][0]


@pytest.mark.parametrize(
    "edit",
    [
        lambda tree: first(tree)["score"].pop(),
        lambda tree: first(tree)["score"].__setitem__(0, "1.0"),
        lambda tree: first(tree)["score"].__setitem__(0, True),
        lambda tree: first(tree)["score"].__setitem__(0, 10**400),
        lambda tree: first(tree)["error"].__setitem__(0, 1),
        lambda tree: first(tree).update(score=1.0),
        lambda tree: first(tree).update(score=None),
        lambda tree: tree.update(sample_ids=[]),
        lambda tree: tree.update(candidates=[]),
        lambda tree: tree.update(order=[0] * 300),
        lambda tree: tree.update(order=[10**30] * 300),
        lambda tree: tree.update(planned=-1),
        lambda tree: tree.update(chance="Infinity"),
        lambda tree: tree.update(routing={"report": {"kind": "table", "trained_on": 3, "gains": []}, "trained": [True] * 300}),
        lambda tree: tree.update(cluster=[{"a": 1}] * 300),
    ],
)  # fmt: skip
def test_hostile_evidence_is_refused_or_found_out(out: Path, edit: Callable[[Any], object]):
    change(out, "evidence.json", edit)
    try:
        found = list(verify_export(out).findings)
    except UsageError as error:
        found = [error]
    assert found
    assert all(each.code in listed() for each in found)


def test_figures_that_the_evidence_does_not_give_are_found_out(out: Path):
    content = (out / "verdict.json").read_bytes()

    def forged(**fields: Any) -> None:
        put(out, "verdict.json", content)
        change(out, "verdict.json", lambda tree: tree.update(fields))

    for fields in ({"asked": 299}, {"sentence": "Switch, and be glad."}, {"evidence_digest": "sha256:00"}, {"valid_until": "2030-01-01T00:00:00+00:00"}):  # fmt: skip
        forged(**fields)
        check = verify_export(out)
        assert "verdict-mismatch" in [each.code for each in check.findings]
    forged(method_version=METHOD_VERSION + 1)
    with raises_code("verdict-too-new"):
        verify_export(out)
    forged(id="another")
    codes_of(verify_export(out), "export-misnamed")
    put(out, "verdict.json", content)
    change(out, "evidence.json", lambda tree: first(tree)["score"].__setitem__(1, 0.25))
    assert "verdict-mismatch" in [each.code for each in verify_export(out).findings]


def test_other_versions_are_named_and_change_nothing(out: Path):
    change(out, "manifest.json", lambda tree: tree["versions"].update(numpy="1.0", nothing="2.0"))
    check = verify_export(out)
    assert check.holds
    assert {(each.name, each.written) for each in check.versions} == {("numpy", "1.0"), ("nothing", "2.0")}
    assert {each.name: each.here for each in check.versions} == {"numpy": np.__version__, "nothing": None}


def test_a_number_that_was_rounded_otherwise_is_counted(out: Path):
    tree = json.loads((out / "verdict.json").read_text())
    p = tree["certificates"][0]["retention"]["value"]
    near = float(np.nextafter(p, 2))
    change(out, "verdict.json", lambda tree: tree["certificates"][0]["retention"].update(value=near))
    change(out, "verdict.json", lambda tree: tree["retention"].update(value=near))
    check = verify_export(out)
    assert check.holds, check.findings
    assert check.verification is not None
    assert check.verification.rounded == 2


def test_a_verdict_that_does_not_hold_is_not_exported(project: Project, tmp_path: Path):
    found = scored(GRADES)
    verdict = decide_policy(found, DecisionSettings(), now=NOW)
    forged = replace(verdict, name="switch", certificates=tuple(map(certified, verdict.certificates)))
    identifier = project.store.verdicts.append(forged, found)
    with raises_code("verdict-mismatch"):
        project.export_verdict(identifier, tmp_path / "out")
    without = project.store.verdicts.append(verdict)
    with raises_code("evidence-missing"):
        project.export_verdict(without, tmp_path / "out")
    with raises_code("verdict-unknown", "nothing"):
        project.export_verdict("nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_verdict_of_an_older_method(project: Project, tmp_path: Path):
    found = with_texts()
    verdict = replace(decide_policy(found, now=NOW), method_version=1, package_version="0.1.0")
    project.export_verdict(project.store.verdicts.append(verdict, found), tmp_path / "out")
    check = verify_export(tmp_path / "out")
    assert check.holds
    assert check.verification is not None
    assert check.verification.is_older
    assert check.verification.verdict.method_version == 1


def test_a_folder_is_written_whole_and_never_over_another(project: Project, tmp_path: Path):
    identifier = record(project, with_texts())
    used = tmp_path / "used"
    used.mkdir()
    (used / "mine.txt").write_text("keep me")
    with raises_code("export-folder-used"):
        project.export_verdict(identifier, used)
    assert [each.name for each in used.iterdir()] == ["mine.txt"]
    with raises_code("export-folder-used"):
        project.export_verdict(identifier, used / "mine.txt")
    (tmp_path / "link").symlink_to(used)
    with raises_code("export-folder-used"):
        project.export_verdict(identifier, tmp_path / "link")
    with raises_code("export-unwritable"):
        project.export_verdict(identifier, used / "mine.txt" / "below")
    (tmp_path / "empty").mkdir()
    project.export_verdict(identifier, tmp_path / "empty")
    assert verify_export(tmp_path / "empty").holds
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]


@pytest.mark.parametrize("unit", [b"[],", b"{},"])
def test_a_file_of_empty_lists_is_refused_before_it_is_read(unit: bytes):
    with raises_code("export-unreadable", "evidence.json"):
        read_json("evidence.json", b"[" + unit * MOST_CONTAINERS + b"0]")


def test_brackets_in_texts_are_no_lists(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("crossgrade.project._export_folder.MOST_CONTAINERS", 2)
    text = '[[[{"\\ \n'
    assert read_json("evidence.json", json.dumps([{"a": text}, text]).encode()) == [{"a": text}, text]
    with raises_code("export-unreadable", "evidence.json"):
        read_json("evidence.json", json.dumps([[text], [text]]).encode())


def test_what_is_too_large_is_not_exported(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    identifier = record(project, with_texts())
    monkeypatch.setattr("crossgrade.project._export_folder.MOST_FILE_BYTES", 10_000)
    with raises_code("export-too-large", "evidence.json"):
        project.export_verdict(identifier, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_verdict_is_the_one_that_decide_prints(out: Path, exported: tuple[Path, StoredVerdict]):
    stored = exported[1]
    tree = json.loads((out / "verdict.json").read_text())
    assert tree.pop("id") == stored.id
    printed = json.loads(json.dumps(verdict_to_json(stored.verdict), default=str))
    differ = {key for key in printed if json.dumps(tree[key]) != json.dumps(printed[key])}
    assert differ <= {"losses"}
