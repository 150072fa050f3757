"""Stores a project's runs, verdicts, live pairs, alarms, keys and active route table."""

from typing import TYPE_CHECKING, Any

from crossgrade.store._label_records import (
    LabelAction,
    LabelActionKind,
    LabelDraw,
    LabelDrawKind,
    LabelScale,
    Rater,
    RaterEventKind,
    label_item_id,
)
from crossgrade.store._live import (
    Alarm,
    AlarmKind,
    Audit,
    AuditSource,
    Draw,
    Feedback,
    Pair,
    PairAnswer,
    Side,
    WaitingPair,
    WatchState,
)
from crossgrade.store._records import (
    Answer,
    AnswerScore,
    Batch,
    ProbeStart,
    Record,
    RecordedAnswer,
    Response,
    Run,
    RunKey,
    RunSample,
    RunStatus,
    RunTotals,
    new_id,
    utc_now,
)

if TYPE_CHECKING:
    from crossgrade.store._baselines import Baseline, BaselineUse, SealedAnswer, SealedSample, response_digest
    from crossgrade.store._budgets import Budgets, CountedPosition, LimitWindow, Loan
    from crossgrade.store._changes import Changes, Stamps
    from crossgrade.store._compatibility import CompatibilityRecord, LiveCheck, LiveStatus
    from crossgrade.store._database import BUSY_TIMEOUT_S, HEAD, file_lock
    from crossgrade.store._dossiers import DossierRecords, StoredDossier
    from crossgrade.store._erasure import Erased
    from crossgrade.store._keys import Keys
    from crossgrade.store._ledger import LedgerLog, LedgerRow, ledger_damaged
    from crossgrade.store._ledger_events import MAX_PAYLOAD_BYTES, MAX_SEALED_BYTES, LedgerEvent
    from crossgrade.store._ledger_texts import LedgerTexts
    from crossgrade.store._onboarding import OnboardingKind, OnboardingStep
    from crossgrade.store._published import write_private
    from crossgrade.store._routes import Routes, Step
    from crossgrade.store._served_runs import ServedRun, ServedRuns
    from crossgrade.store._store import Store
    from crossgrade.store._tunings import Tuning, Tunings, TuningStep, TuningStepKind
    from crossgrade.store._verdicts import StoredVerdict

__all__ = [
    "BUSY_TIMEOUT_S",
    "HEAD",
    "MAX_PAYLOAD_BYTES",
    "MAX_SEALED_BYTES",
    "Alarm",
    "AlarmKind",
    "Answer",
    "AnswerScore",
    "Audit",
    "AuditSource",
    "Baseline",
    "BaselineUse",
    "Batch",
    "Budgets",
    "Changes",
    "CompatibilityRecord",
    "CountedPosition",
    "DossierRecords",
    "Draw",
    "Erased",
    "Feedback",
    "Keys",
    "LabelAction",
    "LabelActionKind",
    "LabelDraw",
    "LabelDrawKind",
    "LabelScale",
    "LedgerEvent",
    "LedgerLog",
    "LedgerRow",
    "LedgerTexts",
    "LimitWindow",
    "LiveCheck",
    "LiveStatus",
    "Loan",
    "OnboardingKind",
    "OnboardingStep",
    "Pair",
    "PairAnswer",
    "ProbeStart",
    "Rater",
    "RaterEventKind",
    "Record",
    "RecordedAnswer",
    "Response",
    "Routes",
    "Run",
    "RunKey",
    "RunSample",
    "RunStatus",
    "RunTotals",
    "SealedAnswer",
    "SealedSample",
    "ServedRun",
    "ServedRuns",
    "Side",
    "Stamps",
    "Step",
    "Store",
    "StoredDossier",
    "StoredVerdict",
    "Tuning",
    "TuningStep",
    "TuningStepKind",
    "Tunings",
    "WaitingPair",
    "WatchState",
    "file_lock",
    "label_item_id",
    "ledger_damaged",
    "new_id",
    "response_digest",
    "utc_now",
    "write_private",
]

_LATE = {
    **dict.fromkeys(
        ("Baseline", "BaselineUse", "SealedAnswer", "SealedSample", "response_digest"), "_baselines"
    ),
    **dict.fromkeys(("CompatibilityRecord", "LiveCheck", "LiveStatus"), "_compatibility"),
    **dict.fromkeys(("Changes", "Stamps"), "_changes"),
    **dict.fromkeys(("DossierRecords", "StoredDossier"), "_dossiers"),
    "Erased": "_erasure",
    **dict.fromkeys(("BUSY_TIMEOUT_S", "HEAD", "file_lock"), "_database"),
    "Keys": "_keys",
    **dict.fromkeys(("LedgerEvent", "MAX_PAYLOAD_BYTES", "MAX_SEALED_BYTES"), "_ledger_events"),
    **dict.fromkeys(("LedgerLog", "LedgerRow", "ledger_damaged"), "_ledger"),
    "LedgerTexts": "_ledger_texts",
    "OnboardingKind": "_onboarding",
    "OnboardingStep": "_onboarding",
    **dict.fromkeys(("Budgets", "CountedPosition", "LimitWindow", "Loan"), "_budgets"),
    "Routes": "_routes",
    **dict.fromkeys(("ServedRun", "ServedRuns"), "_served_runs"),
    "Step": "_routes",
    "Store": "_store",
    "StoredVerdict": "_verdicts",
    **dict.fromkeys(("Tuning", "Tunings", "TuningStep", "TuningStepKind"), "_tunings"),
    "write_private": "_published",
}


def __getattr__(name: str) -> Any:
    """Import `Store` and its module on first use, because SQLAlchemy alone takes 120 ms of CPU to import."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
