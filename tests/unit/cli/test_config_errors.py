"""What a user reads for each way in which crossgrade.yaml can be wrong."""

from pathlib import Path

import pytest
from inline_snapshot import snapshot

from crossgrade.cli._frame import run

GOOD = """\
models:
  old: {provider: openai, model: gpt-4.1}
  new: {provider: local, model: smollm2-135m-instruct}
workloads:
  support:
    dataset: support.jsonl
    scorer: {kind: exact}
    incumbent: old
    candidates: [new]
"""

LAUGHS = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 8)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "support.jsonl").write_text('{"input": "a", "target": "b"}\n')
    return tmp_path


@pytest.fixture
def seen(project: Path, capsys: pytest.CaptureFixture[str]):
    def validate(text: str | bytes) -> str:
        content = text.encode() if isinstance(text, str) else text
        (project / "crossgrade.yaml").write_bytes(content)
        assert run(["config", "validate"]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err.replace(str(project), "PROJECT")

    return validate


def test_unknown_key(seen):
    assert seen(GOOD + "    flor: 0.9\n") == snapshot("""\
error: unknown key `flor` [key-not-allowed]
  --> crossgrade.yaml:10:5  workloads.support.flor

hint: did you mean `floor`?
""")


def test_a_floor_of_the_whole_without_a_router(seen):
    assert seen(GOOD + "    whole_floor: 0.95\n") == snapshot("""\
error: `whole_floor` is for a workload with a router [router-settings]
  --> crossgrade.yaml:10:5  workloads.support.whole_floor

hint: set `router: true`, or raise `floor`
""")


def test_wrong_type(seen):
    assert seen(GOOD + '    alpha: "0.05"\n') == snapshot("""\
error: `alpha` must be a number (saw: "0.05") [value-invalid]
  --> crossgrade.yaml:10:5  workloads.support.alpha

hint: `alpha`: accepted probability of certifying a policy that is below the floor
""")


def test_out_of_range(seen):
    assert seen(GOOD + "    floor: 2\n") == snapshot("""\
error: `floor` must be less than 2 (saw: 2) [value-out-of-range]
  --> crossgrade.yaml:10:5  workloads.support.floor

hint: `floor`: share of the incumbent's mean score that must be kept
""")


def test_missing_key(seen):
    assert seen(GOOD.replace("    incumbent: old\n", "")) == snapshot("""\
error: `incumbent` is missing [key-missing]
  --> crossgrade.yaml:5:3  workloads.support

hint: `incumbent`: the model that serves this traffic today
""")


def test_several_problems_at_once(seen):
    assert seen(
        GOOD.replace("provider: local", "provder: local") + "    mode: slow\nvalid_days: 0\n"
    ) == snapshot("""\
error: `provider` is missing [key-missing]
  --> crossgrade.yaml:3:3  models.new

hint: `provider`: who serves the model: `openai`, `anthropic`, `groq`, `local`, …

error: unknown key `provder` [key-not-allowed]
  --> crossgrade.yaml:3:9  models.new.provder

hint: did you mean `provider`?

error: `mode` must be `sequential`, `fixed` or `anytime` (saw: "slow") [value-unknown]
  --> crossgrade.yaml:10:5  workloads.support.mode

hint: `mode`: `sequential` stops as soon as the verdict is certain. `fixed` asks all planned samples. A run in mode `anytime` may be checked and extended at any time, but not imported results

error: `valid_days` must be at least 1 (saw: 0) [value-out-of-range]
  --> crossgrade.yaml:11:1  valid_days

hint: `valid_days`: days until a verdict expires. Default: the half-life of today's best offer in `crossgrade cost outlook`
""")


def test_unknown_model(seen):
    assert seen(GOOD.replace("[new]", "[nwe]")) == snapshot("""\
error: no model `nwe` under `models` [model-undefined]
  --> crossgrade.yaml:9:18  workloads.support.candidates.0.model

hint: did you mean `new`?
""")


def test_unknown_provider(seen):
    assert seen(GOOD.replace("openai", "opnai")) == snapshot("""\
error: unknown provider `opnai` [provider-undefined]
  --> crossgrade.yaml:2:9  models.old.provider

hint: did you mean `openai`?
""")


def test_billion_laughs(seen):
    assert seen(LAUGHS) == snapshot("""\
error: aliases expand to more than 4 MiB [yaml-aliases-expand]
  --> crossgrade.yaml:7:32  g.6

hint: write the values out
""")


def test_tag(seen):
    assert seen("models: !!python/object/apply:os.system [ls]\n") == snapshot("""\
error: a YAML tag is not allowed [yaml-tag]
  --> crossgrade.yaml:1:9  models

hint: remove it, or quote the text if it starts with `!`
""")


def test_duplicate_key(seen):
    assert seen(GOOD + "    dataset: other.jsonl\n") == snapshot("""\
error: key `dataset` appears twice (first on line 6) [key-repeated]
  --> crossgrade.yaml:10:5  workloads.support.dataset

hint: keep one of the two
""")


def test_path_outside_the_project(seen):
    assert seen(GOOD.replace("support.jsonl", "../support.jsonl")) == snapshot("""\
error: `../support.jsonl` is outside the project's folder [path-outside]
  --> crossgrade.yaml:6:5  workloads.support.dataset

hint: move or copy the file below PROJECT
""")


def test_secret_literal(seen):
    assert seen(GOOD.replace("gpt-4.1", "gpt-4.1, api_key: sk-abcdefghijklmnop1234")) == snapshot("""\
error: this looks like a secret, which does not belong in the file [secret-in-file]
  --> crossgrade.yaml:2:43  models.old.api_key

hint: remove it, put the key into an environment variable and name that variable in `api_key_env`; if this file was ever shared, revoke the key
""")


def test_key_that_should_be_named(seen):
    assert seen(GOOD.replace("gpt-4.1", "gpt-4.1, api_key: abc")) == snapshot("""\
error: unknown key `api_key` [key-not-allowed]
  --> crossgrade.yaml:2:43  models.old.api_key

hint: keys never stand in the file: name an environment variable in `api_key_env`
""")


def test_password_in_the_store(seen):
    assert seen(GOOD + "store: postgresql://me:hunter22@localhost/x\n") == snapshot("""\
error: this looks like a secret, which does not belong in the file [secret-in-file]
  --> crossgrade.yaml:10:1  store

hint: remove it and set CROSSGRADE_DATABASE_URL in the environment instead
""")


def test_empty_file(seen):
    assert seen("") == snapshot("""\
error: the file is empty [config-empty]
  --> crossgrade.yaml

hint: write one with `crossgrade init`
""")


def test_only_comments(seen):
    assert seen("# nothing yet\n") == snapshot("""\
error: the file is empty [config-empty]
  --> crossgrade.yaml

hint: write one with `crossgrade init`
""")


def test_a_list_instead_of_a_mapping(seen):
    assert seen("- a\n- b\n") == snapshot("""\
error: the file must be a mapping (saw: a list) [value-invalid]
  --> crossgrade.yaml

hint: `crossgrade config schema` prints every key that is allowed
""")


def test_tabs(seen):
    assert seen("models:\n\told: {provider: openai, model: x}\n") == snapshot("""\
error: not valid YAML: a tab is used for indentation, which YAML does not allow [yaml-invalid]
  --> crossgrade.yaml:2:1

hint: indent with spaces
""")


def test_too_deep(seen):
    assert seen("models: " + "[" * 50 + "]" * 50) == snapshot("""\
error: nested deeper than 32 levels [yaml-too-deep]
  --> crossgrade.yaml:1:41

hint: flatten it
""")


def test_not_text(seen):
    assert seen(b"\xff\xfe\x00\x01") == snapshot("""\
error: not UTF-8 text [config-not-utf8]
  --> crossgrade.yaml:1

hint: save it as UTF-8
""")


def test_binary(seen):
    assert seen(b"\x00\x01\x02") == snapshot("""\
error: not a text that YAML allows [yaml-invalid]
  --> crossgrade.yaml:1

hint: remove the control characters, or write them as escapes in a "double-quoted" text
""")


def test_too_large(seen):
    assert seen("# " + "x" * 2**20) == snapshot("""\
error: larger than 1 MiB [config-too-large]
  --> crossgrade.yaml

hint: keep data in the dataset files; the configuration only names them
""")


def test_missing_file(project: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["config", "validate"]) == 2
    assert capsys.readouterr().err == snapshot("""\
error: no such file [config-missing]
  --> crossgrade.yaml

hint: write one with `crossgrade init`, or name it with `--config PATH`
""")


def test_missing_dataset(project: Path, capsys: pytest.CaptureFixture[str]):
    (project / "crossgrade.yaml").write_text(GOOD)
    (project / "support.jsonl").unlink()
    assert run(["config", "validate"]) == 2
    assert capsys.readouterr().err == snapshot("""\
error: there is no file support.jsonl [dataset-missing]
  --> crossgrade.yaml:6:5  workloads.support.dataset

hint: put the dataset there, or correct the path
""")


def test_fields_that_the_dataset_does_not_have(seen):
    keys = "    segment_field: team\n    prompt:\n      system: Mind {language}.\n      user: 'Say {imput}'\n"
    assert seen(GOOD.replace("    scorer", keys + "    scorer")) == snapshot("""\
error: the dataset has no field `team` [dataset-field-missing]
  --> crossgrade.yaml:7:5  workloads.support.segment_field

hint: its fields are `input`, `target`

error: the dataset has no field `language` [dataset-field-missing]
  --> crossgrade.yaml:9:7  workloads.support.prompt.system

hint: its fields are `input`, `target`

error: the dataset has no field `imput`; did you mean "input"? [dataset-field-missing]
  --> crossgrade.yaml:10:7  workloads.support.prompt.user

hint: its fields are `input`, `target`
""")


def test_fields_of_a_variants_own_prompt(seen):
    own = "candidates: [{model: new, prompt: {user: 'Q: {question}'}}]"
    assert seen(GOOD.replace("candidates: [new]", own)) == snapshot("""\
error: the dataset has no field `question` [dataset-field-missing]
  --> crossgrade.yaml:9:40  workloads.support.candidates.0.prompt.user

hint: its fields are `input`, `target`
""")


def test_the_target_that_a_scorer_needs(seen, project):
    (project / "support.jsonl").write_text('{"input": "a", "expected": "b"}\n')
    assert seen(GOOD) == snapshot("""\
error: the dataset has no field `target` [dataset-field-missing]
  --> crossgrade.yaml:5:3  workloads.support.target_field

hint: its fields are `input`, `expected`
""")
    (project / "crossgrade.yaml").write_text(GOOD.replace("kind: exact", "kind: code"))
    assert run(["config", "validate"]) == 0


def test_a_dataset_that_cannot_be_read(seen, project):
    (project / "support.jsonl").write_text("")
    assert seen(GOOD) == snapshot("""\
error: support.jsonl: the file is empty, a header with column names is expected [table-empty]
  --> crossgrade.yaml:6:5  workloads.support.dataset

hint: `crossgrade import --help` names the formats that are read
""")
