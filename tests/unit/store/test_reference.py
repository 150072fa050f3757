"""docs/reference/store.md describes every table and column, and nothing else."""

import re
from pathlib import Path

from crossgrade.store import RunStatus
from crossgrade.store._tables import metadata

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "store.md").read_text(encoding="utf-8")


def test_the_page_describes_every_table_and_column() -> None:
    sections = dict(re.findall(r"^### `(\w+)`[^\n]*\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
    described = {
        table: {
            name
            for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
            for name in re.findall(r"`(\w+)`", row)
        }
        for table, text in sections.items()
    }
    assert described == {
        table.name: {column.name for column in table.columns} for table in metadata.sorted_tables
    }


def test_the_page_names_every_status_of_a_run() -> None:
    assert all(status.value in PAGE for status in RunStatus)
