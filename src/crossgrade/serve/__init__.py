"""Serving: the supervisor, the broker of limits and records, the admin API, the witness."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossgrade.serve._cosigning import Cosigning, cosign, keep_cosigned
    from crossgrade.serve._export import RecordBatch, RecordExport
    from crossgrade.serve._records import run_records
    from crossgrade.serve._settings import Compiled, compile_settings
    from crossgrade.serve._supervisor import DRAIN_S, Serve
    from crossgrade.serve._witness_app import witness_app, witness_server
    from crossgrade.serve._witness_state import WitnessFolder, WitnessRecord
    from crossgrade.serve.admin import ADMIN_KEY_ENV

__all__ = [
    "ADMIN_KEY_ENV",
    "DRAIN_S",
    "Compiled",
    "Cosigning",
    "RecordBatch",
    "RecordExport",
    "Serve",
    "WitnessFolder",
    "WitnessRecord",
    "compile_settings",
    "cosign",
    "keep_cosigned",
    "run_records",
    "witness_app",
    "witness_server",
]

_LATE = {
    "ADMIN_KEY_ENV": "admin",
    **dict.fromkeys(("Cosigning", "cosign", "keep_cosigned"), "_cosigning"),
    **dict.fromkeys(("WitnessFolder", "WitnessRecord"), "_witness_state"),
    **dict.fromkeys(("witness_app", "witness_server"), "_witness_app"),
    **dict.fromkeys(("RecordBatch", "RecordExport"), "_export"),
    "run_records": "_records",
    **dict.fromkeys(("DRAIN_S", "Serve"), "_supervisor"),
    **dict.fromkeys(("Compiled", "compile_settings"), "_settings"),
}


def __getattr__(name: str) -> Any:
    """Import the supervisor's side when it is first used: the broker needs no configuration."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
