"""A project's ledger, changed behind its back and read from what a command printed."""

import sqlite3
from pathlib import Path
from typing import Any

from crossgrade.store import LedgerEvent, Store

NAME = "example.com/ledger"
STATE = Path(".crossgrade")


def opened() -> Store:
    return Store.open(STATE / "crossgrade.db")


def appended(count: int, **more: Any) -> None:
    with opened() as store:
        store.ledger.append([LedgerEvent("request", {"request": str(n)}, **more) for n in range(count)])


def changed(statement: str, *values: object) -> None:
    connection = sqlite3.connect(STATE / "crossgrade.db")
    with connection:
        connection.execute(statement, values)
    connection.close()


def codes(found: dict[str, Any]) -> set[str]:
    return {each["code"] for each in found["findings"]}
