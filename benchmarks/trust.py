"""Figures of the ledger, access and safety: `python -m benchmarks.trust [PART …]` writes docs/benchmarks/trust.md."""

import sys
from collections.abc import Callable

from benchmarks import (
    _trust_access,
    _trust_dossier,
    _trust_gate,
    _trust_log,
    _trust_reports,
    _trust_safety,
    _trust_safety_decisions,
    _trust_witness,
)
from benchmarks._table import Row, measure_parts

PARTS: dict[str, Callable[[], list[Row]]] = {
    "append": _trust_log.append_rows,
    "verify": _trust_log.verify_rows,
    "attacks": _trust_log.attack_rows,
    "proofs": _trust_log.proof_rows,
    "kills": _trust_log.kill_rows,
    "witness": _trust_witness.witness_rows,
    "access": _trust_access.access_rows,
    "gated": _trust_gate.latency_rows,
    "gated-kills": _trust_gate.kill_rows,
    "ungated": _trust_gate.cpu_rows,
    "dossier": _trust_dossier.dossier_rows,
    "safety": _trust_safety.safety_rows,
    "safety-decisions": _trust_safety_decisions.decision_rows,
    "reports": _trust_reports.report_rows,
}


if __name__ == "__main__":
    measure_parts("trust", PARTS, sys.argv[1:], ("crossgrade", "cryptography", "sqlalchemy"))
