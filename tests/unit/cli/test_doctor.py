"""doctor names what is missing, changes nothing and shows no key."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from crossgrade.cli import doctor
from crossgrade.cli._frame import run
from tests.codes import names, shown_codes

CONFIG = """\
models:
  old: {provider: openai, model: gpt-5.5, api_key_env: MY_KEY}
  new: {provider: local, model: smollm2-135m-instruct}
workloads:
  support:
    dataset: support.jsonl
    scorer: {kind: exact}
    incumbent: old
    candidates: [new]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    (tmp_path / "support.jsonl").write_text('{"input": "a", "target": "b"}\n')
    return tmp_path


def examine(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, list[dict[str, str]]]]:
    code = run(["doctor", "--json"])
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert data["schema_version"] == 1
    assert data["ok"] is (code == 0)
    checks: dict[str, list[dict[str, str]]] = {}
    for check in data["checks"]:
        checks.setdefault(check["name"], []).append(check)
    return code, checks


def test_without_a_project_only_the_installation_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, checks = examine(capsys)
    assert code == 0
    assert checks["config"][0]["status"] == "none"
    assert "crossgrade init" in checks["config"][0]["hint"]
    assert "key" not in checks
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_named_with_one_step(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(project.rglob("*"))
    code, checks = examine(capsys)
    assert code == 3
    assert checks["key"] == [
        {"name": "key", "status": "fail", "seen": "old: MY_KEY is not set", "hint": "export MY_KEY=…"}
    ]
    assert checks["model"][0]["hint"] == "crossgrade models add smollm2-135m-instruct"
    assert checks["store"][0]["status"] == "ok"
    assert checks["datasets"][0]["status"] == "ok"
    assert [check["status"] for check in checks["price"]] == ["ok", "warn"]
    assert sorted(project.rglob("*")) == before


def test_prices_are_those_of_the_projects_own_files(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = (project / "crossgrade.yaml").read_text().replace("gpt-5.5", "gpt-ours")
    (project / "crossgrade.yaml").write_text(config + "price_files: [own.csv]\n")
    (project / "own.csv").write_text("seen_on,provider,model,input,output\n2026-11-01,openai,gpt-ours,1,2\n")
    _, checks = examine(capsys)
    assert checks["price"][0]["status"] == "ok"
    assert "$1 in, $2 out" in checks["price"][0]["seen"]


def test_keys_are_named_and_never_shown(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-abcdefghijklmnop")
    run(["doctor", "-v"])
    out = capsys.readouterr().out
    assert "old: MY_KEY is set" in out
    assert "sk-abc" not in out


def test_passing_checks_are_hidden_unless_asked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["doctor"])
    short = capsys.readouterr().out
    run(["doctor", "-v"])
    long = capsys.readouterr().out
    assert "python" not in short
    assert "python" in long
    assert short.splitlines()[-1] == long.splitlines()[-1]


def test_a_broken_configuration_is_one_finding(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "crossgrade.yaml").write_text(CONFIG.replace("incumbent", "incumbant") + "    flor: 1\n")
    code, checks = examine(capsys)
    assert code == 3
    (found,) = checks["config"]
    assert found["seen"].endswith("`incumbent` is missing (and 2 more)")
    assert "store" not in checks


def test_a_missing_dataset(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "support.jsonl").unlink()
    _, checks = examine(capsys)
    assert checks["datasets"][0]["seen"] == "no dataset file for support"


def test_a_store_that_is_there_is_only_read(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from crossgrade.store import Store

    path = project / ".crossgrade" / "crossgrade.db"
    Store.open(path).close()
    content = path.read_bytes()
    _, checks = examine(capsys)
    assert checks["store"][0]["status"] == "ok"
    assert "tables 0" in checks["store"][0]["seen"]
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("tables", "status", "words"),
    [
        ("0001", "warn", "an older Crossgrade (tables 0001"),
        ("9999", "fail", "a newer Crossgrade (tables 9999"),
    ],
)
def test_a_store_of_another_release(
    project: Path, capsys: pytest.CaptureFixture[str], tables: str, status: str, words: str
) -> None:
    from crossgrade.store import Store

    path = project / ".crossgrade" / "crossgrade.db"
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (tables,))
    _, checks = examine(capsys)
    assert checks["store"][0]["status"] == status
    assert words in checks["store"][0]["seen"]


@pytest.mark.parametrize("package", ["numpy", "msgspec"])
def test_a_missing_package_is_named_without_a_traceback(project: Path, package: str) -> None:
    (project / package).mkdir()
    (project / package / "__init__.py").write_text(f"raise ModuleNotFoundError(name={package!r})")

    def crossgrade(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = "import sys; sys.path.insert(0, '.'); from crossgrade.cli import main; main(sys.argv[1:])"
        return subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments], capture_output=True, text=True, check=False
        )

    looked = crossgrade("doctor")
    assert (looked.returncode, looked.stderr) == (3, "")
    assert "passed, " in looked.stdout
    Path("r.csv").write_text("item_id,a,b\n1,1,1\n")
    decided = crossgrade("decide", "r.csv", "--incumbent", "a")
    assert decided.returncode == 3
    assert shown_codes(decided.stderr) == ["package-missing"]
    assert names(decided.stderr, package)
    assert "Traceback" not in decided.stderr


def test_a_package_that_is_not_installed(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = doctor.version

    def version(package: str) -> str:
        if package == "scipy":
            raise PackageNotFoundError(package)
        return installed(package)

    monkeypatch.setattr(doctor, "version", version)
    code, checks = examine(capsys)
    assert code == 3
    assert checks["packages"][0]["status"] == "fail"
    assert "scipy missing" in checks["packages"][0]["seen"]


def test_a_damaged_store(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / ".crossgrade" / "crossgrade.db"
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 100)
    _, checks = examine(capsys)
    assert checks["store"][0]["status"] == "fail"


def test_a_database_without_tables(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / ".crossgrade" / "crossgrade.db"
    path.parent.mkdir()
    sqlite3.connect(path).close()
    path.touch()
    _, checks = examine(capsys)
    assert checks["store"][0]["status"] == "warn"


def test_an_unreachable_database_is_named_without_its_password(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CROSSGRADE_DATABASE_URL", "postgresql://me:hunter22@127.0.0.1:1/x")
    run(["doctor", "--json"])
    captured = capsys.readouterr()
    assert "cannot be read" in captured.out
    assert "hunter22" not in captured.out + captured.err


def test_an_offer_that_is_gone_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = "{provider: groq, model: meta-llama/llama-4-scout-17b-16e-instruct}"
    (project / "crossgrade.yaml").write_text(
        CONFIG.replace("{provider: local, model: smollm2-135m-instruct}", gone)
    )
    _, checks = examine(capsys)
    (offer,) = checks["offer"]
    assert offer["status"] == "warn"
    assert "new: gone from the price catalogues since 2026-11-01" in offer["seen"]


@pytest.mark.parametrize(
    ("days", "successor", "status", "code"),
    [
        (91, False, None, None),
        (90, False, "warn", "successor-missing"),
        (8, False, "warn", "successor-missing"),
        (7, False, "fail", "successor-missing"),
        (-30, False, "fail", "successor-missing"),
        (7, True, "ok", None),
        (-30, True, "ok", None),
    ],
)
def test_a_route_whose_incumbent_ends_names_who_takes_its_place(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    days: int,
    status: str | None,
    code: str | None,
    *,
    successor: bool,
) -> None:
    monkeypatch.setenv("MY_KEY", "k")
    day = datetime.now(UTC).date() + timedelta(days=days)
    named = ", successor: new" if successor else ""
    text = CONFIG.replace("MY_KEY}", f"MY_KEY, retires_on: {day}}}")
    text += f"routes: {{support: {{workload: support{named}}}}}\n"
    (project / "crossgrade.yaml").write_text(text)
    exit_code, checks = examine(capsys)
    found = checks.get("successor", [])
    assert [each["status"] for each in found] == ([] if status is None else [status])
    if status == "fail":
        assert exit_code == 3
    for each in found:
        assert all(names(each["seen"], part) for part in ("support", "old", day))
        assert (each["hint"] != "") is (code is not None)
        assert code is None or code in each["seen"]
