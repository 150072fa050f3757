"""The composition root, which is the Python API: configuration, store, providers and stages together."""

from crossgrade.project._project import DEFAULT_CONFIG, Check, Project
from crossgrade.project._results import decide_results

__all__ = ["DEFAULT_CONFIG", "Check", "Project", "decide_results"]
