"""Databases are migrated when opened, and old ones stay readable."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import crossgrade.store
from crossgrade.decide import RunDesign
from crossgrade.evaluate import sealed_outcomes
from crossgrade.store import Store, _database
from crossgrade.store._database import HEAD
from crossgrade.store._tables import metadata

MIGRATIONS = Path(crossgrade.store.__file__).parent / "migrations"


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_the_path_of_the_installation_may_hold_a_percent_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "100%"
    installed.symlink_to(MIGRATIONS.parent)
    monkeypatch.setattr(_database, "__file__", str(installed / "_database.py"))
    with Store.open(tmp_path / "crossgrade.db") as store:
        assert store.runs.recent() == []


def test_migrations_leave_the_tables_that_the_code_knows(any_store: Store) -> None:
    with any_store.runs._database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_every_schema_version_has_a_fixture(data_dir: Path) -> None:
    versions = {path.name[1:5] for path in (MIGRATIONS / "versions").glob("m[0-9]*.py")}
    assert {path.stem for path in (data_dir / "store").glob("*.sql")} == versions


def test_a_database_of_every_version_is_still_readable(data_dir: Path, tmp_path: Path) -> None:
    for dump in (data_dir / "store").glob("*.sql"):
        path = tmp_path / f"{dump.stem}.db"
        connection = sqlite3.connect(path)
        connection.executescript(dump.read_text(encoding="utf-8"))
        connection.close()
        with Store.open(path) as store:
            assert store.ledger.verify().findings == ()
            (run,) = store.runs.recent()
            scored = store.answers.scored(run.id, "scorer")
            assert [(row.sample_id, row.model, row.score) for row in scored] == [
                ("7", "gpt", 1.0),
                ("7", "llama", 0.0),
            ]
            assert store.runs.status(run.id) == "finished"
            (stored,) = store.verdicts.recent()
            assert stored.verdict.name == "switch"
            assert store.verdicts.evidence(stored.id).n == 1
            design = RunDesign(samples=1, first_samples=1)
            assert store.runs.design(run.id) == (None if dump.stem < "0006" else design)
            baselines = store.baselines.recent("support")
            assert [each.answers[0].sample_id for each in baselines] == ([] if dump.stem < "0012" else ["7"])
            actions = store.labels.actions(f"run:{run.id}")
            assert [each.scores for each in actions] == ([] if dump.stem < "0013" else [(1.0, 0.5)])
            assert [draw.items for draw in store.labels.draws(f"run:{run.id}")] == [
                (each.item,) for each in actions
            ]
            checks = store.conformity.recent("llama")
            assert [each.conformity for each in checks] == ([] if dump.stem < "0016" else ["conforms"])
            assert [len(store.conformity.days(each.id)) for each in checks] == [1] * len(checks)
            dossiers = [each.dossier.fields[0].status for each in store.dossiers.recent("support")]
            assert dossiers == ([] if dump.stem < "0015" else ["missing"])
            mixed = store.served_runs.get("f00d")
            assert (mixed is not None and mixed.is_mixed) is (dump.stem >= "0016")
            assert len(store.pairs.waiting("chat", "s")) == (1 if "0001" < dump.stem < "0016" else 0)
            assert [list(sealed_outcomes(store, each)) for each in baselines] == [[("7", 1)]] * len(baselines)
            tunings = store.tunings.recent("support")
            assert [each.candidate for each in tunings] == ([] if dump.stem < "0016" else ["llama"])
            assert [len(store.tunings.steps(each.id)) for each in tunings] == [1] * len(tunings)


def test_two_processes_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    path = tmp_path / "crossgrade.db"
    script = "import sys\nfrom crossgrade.store import Store\nStore.open(sys.argv[1]).close()\n"
    opening = [subprocess.Popen([sys.executable, "-c", script, str(path)]) for _ in range(3)]
    assert [process.wait() for process in opening] == [0, 0, 0]


def test_opening_costs_no_alembic_once_migrated(tmp_path: Path) -> None:
    path = tmp_path / "crossgrade.db"
    Store.open(path).close()
    script = (
        "import sys\nfrom crossgrade.store import Store\nStore.open(sys.argv[1]).close()\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


@pytest.mark.parametrize("module", ["crossgrade.store", "crossgrade.evaluate"])
def test_a_room_loads_the_database_library_only_when_a_store_is_opened(module: str) -> None:
    script = f"import sys\nimport {module}\nsys.exit('sqlalchemy' in sys.modules)\n"
    subprocess.run([sys.executable, "-c", script], check=True)
