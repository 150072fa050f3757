"""Crossgrade: prove, price and serve a switch from a proprietary LLM API to an open-weight model."""

from typing import TYPE_CHECKING, Any

from crossgrade._version import __version__

if TYPE_CHECKING:
    from crossgrade.project import Project, ResultOptions, decide_results

__all__ = ["Project", "ResultOptions", "__version__", "decide_results"]


def __getattr__(name: str) -> Any:
    """Import the Python API when it is first used: `import crossgrade` alone stays cheap."""
    if name not in {"Project", "ResultOptions", "decide_results"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from crossgrade import project

    return getattr(project, name)
