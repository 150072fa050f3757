"""Every example package does what its README says, through the command line, in processes of its own."""

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crossgrade.testing import FakeProvider, Reply
from tests.plugins.conftest import EXAMPLES, Run

pytestmark = pytest.mark.needs("module:hatchling")

MODEL = "  {name}: {{provider: {provider}, model: {name}-model, api_key_env: FAKE_API_KEY, prices: [{{input_per_mtok: {price}, output_per_mtok: {price}}}]{more}}}\n"


def model(name: str, price: int, provider: str = "openai-compatible", url: str | None = None) -> str:
    more = "" if url is None else f", base_url: '{url}'"
    return MODEL.format(name=name, provider=provider, price=price, more=more)


def write(folder: Path, plugins: str, models: str, workload: str = "") -> None:
    text = f"plugins: [{plugins}]\nmodels:\n{models}"
    if workload:
        text += (
            "workloads:\n  echo:\n    dataset: echo.jsonl\n    incumbent: old\n    candidates: [new]\n"
            f"    requests_per_month: 100000\n    {workload}\n"
        )
        rows = [json.dumps({"id": f"s{n}", "input": f"word {n}", "target": f"word {n}"}) for n in range(60)]
        (folder / "echo.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "crossgrade.yaml").write_text(text)


def says(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    """A provider whose models repeat the last word or two of the question."""

    def answer(request):
        words = request.json["messages"][-1]["content"]
        return Reply(text=words if request.model == "old-model" else "word word")

    with FakeProvider(answer) as provider:
        yield provider


def test_there_is_one_package_of_each_kind_with_its_readme() -> None:
    kinds = ("dialect", "exporter", "guard", "host", "importer", "log-format", "scorer")
    assert [path.name for path in EXAMPLES] == [f"crossgrade-example-{kind}" for kind in kinds]
    for path in EXAMPLES:
        assert f"plugins: [{path.name}]" in (path / "README.md").read_text(encoding="utf-8")


def test_doctor_lists_the_named_packages_alone(run: Run, tmp_path: Path) -> None:
    write(tmp_path, "crossgrade-example-scorer, Crossgrade_Example.Host", model("old", 1, "nebius"))
    done = run("doctor", "--json", cli=True, FAKE_API_KEY="sk-plugins-test")
    seen = [each["seen"] for each in json.loads(done.stdout)["checks"] if each["name"] == "plugin"]
    assert seen == [
        "crossgrade-example-scorer 1.0.0: scorer brevity, scorer polite",
        "crossgrade-example-host 1.0.0: host nebius",
    ]


def test_doctor_says_what_is_missing_or_broken(run: Run, tmp_path: Path) -> None:
    write(tmp_path, "crossgrade-example-gaurd, pip", model("old", 1, "groq"))
    done = run("doctor", "--json", cli=True, FAKE_API_KEY="sk-plugins-test")
    says(done, code=3)
    checks = [each for each in json.loads(done.stdout)["checks"] if each["name"] == "plugin"]
    assert [each["status"] for each in checks] == ["fail", "fail"]
    assert "crossgrade-example-guard" in checks[0]["seen"]
    assert "[plugin-not-installed]" in checks[0]["seen"]
    assert "[plugin-empty]" in checks[1]["seen"]


def test_nothing_is_imported_that_is_not_named(run: Run, tmp_path: Path) -> None:
    write(tmp_path, "crossgrade-example-host", model("old", 1, "nebius"))
    code = (
        "import sys; from crossgrade.project import Project\n"
        "with Project.open('crossgrade.yaml') as project:\n"
        "    tables = project.plugins\n"
        "    for name in ('scorers', 'guards', 'importers', 'log_formats', 'exporters', 'hosts'):\n"
        "        getattr(tables, name)\n"
        "print(*(name for name in sys.modules if name.startswith('crossgrade_example')))"
    )
    assert says(run(code)).strip() == ""  # the host is a row of data, so not even that


def test_a_scorer_with_options_scores_a_run_and_is_recorded(
    run: Run, tmp_path: Path, fake: FakeProvider, installed: Path
) -> None:
    models = model("old", 10, url=fake.base_url) + model("new", 1, url=fake.base_url)
    write(tmp_path, "crossgrade-example-scorer", models, "scorer: {kind: brevity, options: {words: 2}}")
    says(run("config", "validate", cli=True))
    says(run("evaluate", "echo", "--yes", cli=True, FAKE_API_KEY="sk-plugins-test"))
    verdict = json.loads(says(run("decide", "echo", "--json", cli=True)))
    (used,) = verdict["settings"]["plugins"]
    assert {**used, "digest": len(used["digest"])} == {
        "kind": "scorer", "name": "brevity", "package": "crossgrade-example-scorer", "version": "1.0.0",
        "digest": 64,
    }  # fmt: skip
    code = (
        "from crossgrade.project import Project\n"
        "with Project.open('crossgrade.yaml') as project:\n"
        "    (run,) = project.store.runs.recent('echo')\n"
        "    print(run.settings['scorer']['plugin']['digest'])"
    )
    assert says(run(code)).strip() == used["digest"]
    assert "identical" in run("decide", "--verify", "latest", cli=True).stderr

    # What scored is part of what was measured: another version of the package is another scorer.
    module = installed / "crossgrade_example_scorer.py"
    before = module.read_text()
    try:
        module.write_text(before + "\n")
        assert "[workload-changed]" in run("decide", "echo", cli=True).stderr
        assert "[verdict-plugin-differs]" in run("decide", "--verify", "latest", cli=True).stderr
    finally:
        module.write_text(before)

    # Without the package the scores are still recorded: the verdict holds, and says what is missing.
    write(tmp_path, "crossgrade-example-guard", models, "scorer: {kind: exact}")
    done = run("decide", "--verify", "latest", cli=True)
    says(done)
    assert "[verdict-plugin-missing]" in done.stderr


def test_a_registered_function_is_named_by_the_scorer_python(
    run: Run, tmp_path: Path, fake: FakeProvider
) -> None:
    scorer = "scorer: {kind: python, options: {function: polite, arguments: {word: word}}}"
    models = model("old", 10, url=fake.base_url) + model("new", 1, url=fake.base_url)
    write(tmp_path, "crossgrade-example-scorer", models, scorer)
    says(run("evaluate", "echo", "--yes", cli=True, FAKE_API_KEY="sk-plugins-test"))
    verdict = json.loads(says(run("decide", "echo", "--json", cli=True)))
    assert [each["name"] for each in verdict["settings"]["plugins"]] == ["polite"]

    # A run of before plugins were recorded can still be decided on.
    with closing(sqlite3.connect(tmp_path / ".crossgrade" / "crossgrade.db")) as store, store:
        (settings,) = store.execute("SELECT settings FROM runs").fetchone()
        tree = json.loads(settings)
        del tree["scorer"]["plugin"]
        store.execute("UPDATE runs SET settings = ?", [json.dumps(tree)])
    verdict = json.loads(says(run("decide", "echo", "--json", cli=True)))
    assert verdict["settings"]["plugins"] == []

    write(tmp_path, "crossgrade-example-host", models, scorer)
    done = run("evaluate", "echo", "--yes", cli=True, FAKE_API_KEY="sk-plugins-test")
    says(done, code=2)
    assert "[plugin-missing]" in done.stderr


def test_a_guard_makes_a_verdict_invalid_and_is_needed_to_confirm_it(
    run: Run, tmp_path: Path, fake: FakeProvider, installed: Path
) -> None:
    models = model("old", 10, url=fake.base_url) + model("new", 1, url=fake.base_url)
    workload = "mode: fixed\n    scorer: {kind: includes}"
    write(tmp_path, "crossgrade-example-guard", models, workload)
    says(run("evaluate", "echo", "--yes", cli=True, FAKE_API_KEY="sk-plugins-test"))
    verdict = json.loads(says(run("decide", "echo", "--json", cli=True)))
    assert verdict["name"] == "invalid"
    assert [each["status"] for each in verdict["guards"] if each["name"] == "same-answer"] == ["fail"]
    assert [each["package"] for each in verdict["settings"]["plugins"]] == ["crossgrade-example-guard"]
    says(run("decide", "--verify", "latest", cli=True))
    done = run("export", "latest", "out", cli=True)
    says(done, code=2)
    assert "[export-needs-texts]" in done.stderr  # the guard quotes the answer
    says(run("export", "latest", "out", "--with-texts", cli=True))
    done = run("export", "--verify", "out", cli=True)
    says(done, code=1)
    assert "[verdict-plugin-missing]" in done.stderr
    says(run("export", "--verify", "out", "--plugin", "crossgrade-example-guard", cli=True))

    write(tmp_path, "crossgrade-example-scorer", models, workload)
    assert "[verdict-plugin-missing]" in run("decide", "--verify", "latest", cli=True).stderr
    write(tmp_path, "crossgrade-example-guard", models, workload)
    module = installed / "crossgrade_example_guard.py"
    before = module.read_text()
    try:
        module.write_text(before + "\n")
        done = run("decide", "--verify", "latest", cli=True)
    finally:
        module.write_text(before)
    says(done, code=3)
    assert "[verdict-plugin-differs]" in done.stderr


def test_an_importer_reads_results_that_it_knows(run: Run, tmp_path: Path) -> None:
    write(tmp_path, "crossgrade-example-importer", model("old", 1, "groq"))
    lines = [f"i{n}\t{name}\t{n % 2}\ttext" for n in range(40) for name in ("a", "b")]
    (tmp_path / "results.txt").write_text("\n".join(["#scores", *lines]) + "\n")
    found = json.loads(says(run("import", "results.txt", "--json", cli=True)))
    assert [(row["model"], row["rows"], row["mean"]) for row in found["models"]] == [
        ("a", 40, 0.5),
        ("b", 40, 0.5),
    ]
    verdict = json.loads(
        says(run("decide", "results.txt", "--incumbent", "a", "--candidate", "b", "--json", cli=True))
    )
    assert verdict["incumbent"] == "a"
    (tmp_path / "results.txt").write_text("#scores\ni1\ta\thigh\ttext\n")
    assert "[example-tsv-line]" in run("import", "results.txt", cli=True).stderr


def test_a_log_format_is_scanned(run: Run, tmp_path: Path) -> None:
    write(tmp_path, "crossgrade-example-log-format", model("old", 1, "openai"))
    row = {
        "acme_event": "completion", "unix_s": 1_790_000_000, "model": "gpt-4.1-mini", "vendor": "openai",
        "application": "mail", "tokens_prompt": 1_000, "tokens_answer": 100, "prompt": "Sort this: x",
    }  # fmt: skip
    rows = [json.dumps({**row, "acme_id": f"r{n}", "unix_s": row["unix_s"] + n}) for n in range(50)]
    rows.append(json.dumps({"acme_id": "x", "acme_event": "health"}))
    (tmp_path / "log.jsonl").write_text("\n".join(rows) + "\n")
    found = json.loads(says(run("scan", "log.jsonl", "--json", cli=True)))
    assert found["rows"] == {"acme-proxy": 50}
    assert [finding["name"] for finding in found["findings"]] == ["mail"]


def test_an_exporter_writes_routes(run: Run, tmp_path: Path) -> None:
    models = model("old", 10, "groq") + model("new", 1, "groq")
    write(tmp_path, "crossgrade-example-exporter", models, "scorer: {kind: exact}")
    text = says(run("route", "export", "--proxy", "nginx-map", cli=True))
    assert '"echo" "old-model";' in text
    assert "[proxy-unknown]" in run("route", "export", "--proxy", "nginx", cli=True).stderr


def test_a_host_is_one_row_for_exports_catalogue_and_litellm(run: Run, tmp_path: Path) -> None:
    models = model("old", 10, "nebius") + model("new", 1, "nebius")
    write(tmp_path, "crossgrade-example-host", models, "scorer: {kind: exact}")
    text = says(run("route", "export", "--proxy", "litellm", cli=True))
    assert "nebius/old-model" in text
    (tmp_path / "litellm.yaml").write_text(
        "plugins: [crossgrade-example-host]\n"
        "model_list:\n- model_name: big\n  litellm_params: {model: nebius/llama}\n"
    )
    code = (
        "from crossgrade.catalog import read_listed\n"
        "from crossgrade.project import Project\n"
        "from datetime import date; from pathlib import Path\n"
        "offer = Project.open('litellm.yaml').config.offers['big']\n"
        "rates = read_listed(Path('prices.json'), seen_on=date(2026, 1, 1))\n"
        "print(offer.provider, offer.model, *(f'{rate.provider} {rate.model}' for rate in rates))"
    )
    price = {"litellm_provider": "nebius", "input_cost_per_token": 1e-7, "output_cost_per_token": 2e-7}
    (tmp_path / "prices.json").write_text(json.dumps({"nebius/llama": price}))
    assert says(run(code)).split() == ["nebius", "llama", "nebius", "llama"]
