"""What the source is made of, and how much of it one call runs through."""

import ast
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import crossgrade

SOURCE = Path(crossgrade.__file__).parent
SHORT_LINES = 60


def files_entered(call: Callable[[], object]) -> frozenset[str]:
    """Return the source files of which a function is called while `call` runs, relative to the package.

    Functions of threads that `call` starts count too; other processes do not. What runs when a module is
    imported does not count: run `call` once before.
    """
    root = f"{SOURCE}/"
    entered: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(root) and frame.f_code.co_name != "<module>":
            entered.add(name[len(root) :])

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]  # None ends it, as for `sys`
    return frozenset(entered)


def sources() -> Iterator[tuple[Path, str]]:
    """Yield every source file with its text."""
    for path in sorted(SOURCE.rglob("*.py")):
        yield path, path.read_text(encoding="utf-8")


def statements() -> int:
    """Count the statements of the source, by `ast`; docstrings are none."""
    return sum(
        isinstance(node, ast.stmt) and not _is_docstring(node)
        for _, text in sources()
        for node in ast.walk(ast.parse(text))
    )


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def files() -> int:
    """Count the source files."""
    return sum(1 for _ in sources())


def short_modules() -> int:
    """Count the source files of fewer than 60 lines, `__init__.py` included."""
    return sum(len(text.splitlines()) < SHORT_LINES for _, text in sources())


def class_names_defined_twice() -> list[str]:
    """Return the public names that more than one class has."""
    names = Counter(
        node.name
        for _, text in sources()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    return sorted(name for name, count in names.items() if count > 1)
