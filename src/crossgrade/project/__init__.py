"""The composition root, which is the Python API: configuration, store, providers and stages together."""

from typing import TYPE_CHECKING, Any

from crossgrade.project._growing import growth_findings
from crossgrade.project._opened import DEFAULT_CONFIG
from crossgrade.project._plugin_objects import PluginEntry
from crossgrade.project._plugins import Plugins, find_plugins, plugin_names, read_config
from crossgrade.project._project import Project
from crossgrade.project._run_tables import Export
from crossgrade.project._verdicts import OutdatedRoute, Verification

if TYPE_CHECKING:
    from crossgrade.project._access import CaseResult, ProjectAccess
    from crossgrade.project._auditing import ProjectLedger
    from crossgrade.project._bills import OfferMove, cheapest_move, measure_server, saving_of
    from crossgrade.project._conforming import ConformPlan, OnConformProgress, ProjectConformity
    from crossgrade.project._creating import Created, create_workload, read_definition
    from crossgrade.project._distil_plans import DistilOptions, DistilPlan
    from crossgrade.project._distilling import Checked, Distilled, DistilProgress, ProjectDistil
    from crossgrade.project._dossier_basis import gateway_basis, needs_dossiers
    from crossgrade.project._dossiers import DossierCheck, ProjectDossiers
    from crossgrade.project._drift import RecentLog, live_request
    from crossgrade.project._equality import OfferConformity, OfferPair
    from crossgrade.project._evaluating import open_judge
    from crossgrade.project._exporting import ExportCheck, VerdictExport, VersionDifference, verify_export
    from crossgrade.project._freeze_plans import FreezeOptions, FreezePlan
    from crossgrade.project._freezing import BaselineCheck, ProjectBaselines
    from crossgrade.project._label_draws import LabelOptions, LabelPlan, ProjectLabelling
    from crossgrade.project._label_standing import (
        LabelAgreement,
        LabelBound,
        LabelProgress,
        RaterDrift,
        RaterStanding,
    )
    from crossgrade.project._labelling import (
        MOST_NOTE_CHARS,
        SKIP_REASONS,
        GivenLabel,
        LabelDesk,
        LabelItem,
        RaterProgress,
        SkipReason,
    )
    from crossgrade.project._live import LivePlan, LiveResult, OnLiveCheck, ProjectLive
    from crossgrade.project._log_folder import export_log, read_note_file, verify_ledger_folder
    from crossgrade.project._onboarding import Onboarded
    from crossgrade.project._port_plans import PortOptions, PortPlan
    from crossgrade.project._porting import OnPort, Ported, ProjectPorting
    from crossgrade.project._probe_plans import ProbeOptions, ProbePlan
    from crossgrade.project._probes import OnProbeProgress, ProjectProbes
    from crossgrade.project._ray import NodeFacts, RayCluster, on_ray
    from crossgrade.project._renewing import ProjectRenewals, RenewalTest, Renewed
    from crossgrade.project._rescoring import Rescoring
    from crossgrade.project._results import ResultOptions, decide_results
    from crossgrade.project._routing import Publication, RouteState, Routing
    from crossgrade.project._run_labels import finished_labels
    from crossgrade.project._safety import ModelSafety, ProjectSafety, SuiteSafety
    from crossgrade.project._safety_import import ImportedReport, ReportCount, ReportOptions
    from crossgrade.project._screening import Proposal, Screening
    from crossgrade.project._shown import ShownVerdict
    from crossgrade.project._succession import Succession, ends_at
    from crossgrade.project._suites import find_suite
    from crossgrade.project._traffic import Forgotten, ProjectTraffic, Rest, subject_key

__all__ = [
    "DEFAULT_CONFIG",
    "MOST_NOTE_CHARS",
    "SKIP_REASONS",
    "BaselineCheck",
    "CaseResult",
    "Checked",
    "ConformPlan",
    "Created",
    "DistilOptions",
    "DistilPlan",
    "DistilProgress",
    "Distilled",
    "DossierCheck",
    "Export",
    "ExportCheck",
    "Forgotten",
    "FreezeOptions",
    "FreezePlan",
    "GivenLabel",
    "ImportedReport",
    "LabelAgreement",
    "LabelBound",
    "LabelDesk",
    "LabelItem",
    "LabelOptions",
    "LabelPlan",
    "LabelProgress",
    "LivePlan",
    "LiveResult",
    "ModelSafety",
    "NodeFacts",
    "OfferConformity",
    "OfferMove",
    "OfferPair",
    "OnConformProgress",
    "OnLiveCheck",
    "OnPort",
    "OnProbeProgress",
    "Onboarded",
    "OutdatedRoute",
    "PluginEntry",
    "Plugins",
    "PortOptions",
    "PortPlan",
    "Ported",
    "ProbeOptions",
    "ProbePlan",
    "Project",
    "ProjectAccess",
    "ProjectBaselines",
    "ProjectConformity",
    "ProjectDistil",
    "ProjectDossiers",
    "ProjectLabelling",
    "ProjectLedger",
    "ProjectLive",
    "ProjectPorting",
    "ProjectProbes",
    "ProjectRenewals",
    "ProjectSafety",
    "ProjectTraffic",
    "Proposal",
    "Publication",
    "RaterDrift",
    "RaterProgress",
    "RaterStanding",
    "RayCluster",
    "RecentLog",
    "RenewalTest",
    "Renewed",
    "ReportCount",
    "ReportOptions",
    "Rescoring",
    "Rest",
    "ResultOptions",
    "RouteState",
    "Routing",
    "Screening",
    "ShownVerdict",
    "SkipReason",
    "Succession",
    "SuiteSafety",
    "VerdictExport",
    "Verification",
    "VersionDifference",
    "cheapest_move",
    "create_workload",
    "decide_results",
    "ends_at",
    "export_log",
    "find_plugins",
    "find_suite",
    "finished_labels",
    "gateway_basis",
    "growth_findings",
    "live_request",
    "measure_server",
    "needs_dossiers",
    "on_ray",
    "open_judge",
    "plugin_names",
    "read_config",
    "read_definition",
    "read_note_file",
    "saving_of",
    "subject_key",
    "verify_export",
    "verify_ledger_folder",
]

_LATE = {
    **dict.fromkeys(("CaseResult", "ProjectAccess"), "_access"),
    "ProjectLedger": "_auditing",
    **dict.fromkeys(("export_log", "read_note_file", "verify_ledger_folder"), "_log_folder"),
    **dict.fromkeys(("OfferMove", "cheapest_move", "measure_server", "saving_of"), "_bills"),
    **dict.fromkeys(("ConformPlan", "OnConformProgress", "ProjectConformity"), "_conforming"),
    **dict.fromkeys(("Created", "create_workload", "read_definition"), "_creating"),
    **dict.fromkeys(("DistilOptions", "DistilPlan"), "_distil_plans"),
    **dict.fromkeys(("Checked", "DistilProgress", "Distilled", "ProjectDistil"), "_distilling"),
    **dict.fromkeys(("gateway_basis", "needs_dossiers"), "_dossier_basis"),
    **dict.fromkeys(("DossierCheck", "ProjectDossiers"), "_dossiers"),
    **dict.fromkeys(("RecentLog", "live_request"), "_drift"),
    **dict.fromkeys(("OfferConformity", "OfferPair"), "_equality"),
    "open_judge": "_evaluating",
    **dict.fromkeys(("ExportCheck", "VerdictExport", "VersionDifference", "verify_export"), "_exporting"),
    **dict.fromkeys(("FreezeOptions", "FreezePlan"), "_freeze_plans"),
    **dict.fromkeys(("BaselineCheck", "ProjectBaselines"), "_freezing"),
    **dict.fromkeys(
        (
            "MOST_NOTE_CHARS",
            "SKIP_REASONS",
            "GivenLabel",
            "LabelDesk",
            "LabelItem",
            "RaterProgress",
            "SkipReason",
        ),
        "_labelling",
    ),
    **dict.fromkeys(
        ("LabelAgreement", "LabelBound", "LabelProgress", "RaterDrift", "RaterStanding"), "_label_standing"
    ),
    **dict.fromkeys(("LabelOptions", "LabelPlan", "ProjectLabelling"), "_label_draws"),
    **dict.fromkeys(("LivePlan", "LiveResult", "OnLiveCheck", "ProjectLive"), "_live"),
    "Onboarded": "_onboarding",
    **dict.fromkeys(("PortOptions", "PortPlan"), "_port_plans"),
    **dict.fromkeys(("OnPort", "Ported", "ProjectPorting"), "_porting"),
    **dict.fromkeys(("ProbeOptions", "ProbePlan"), "_probe_plans"),
    **dict.fromkeys(("OnProbeProgress", "ProjectProbes"), "_probes"),
    **dict.fromkeys(("NodeFacts", "RayCluster", "on_ray"), "_ray"),
    **dict.fromkeys(("ProjectRenewals", "RenewalTest", "Renewed"), "_renewing"),
    "Rescoring": "_rescoring",
    **dict.fromkeys(("ResultOptions", "decide_results"), "_results"),
    **dict.fromkeys(("Publication", "RouteState", "Routing"), "_routing"),
    **dict.fromkeys(("ModelSafety", "ProjectSafety", "SuiteSafety"), "_safety"),
    **dict.fromkeys(("ImportedReport", "ReportCount", "ReportOptions"), "_safety_import"),
    **dict.fromkeys(("Proposal", "Screening"), "_screening"),
    "ShownVerdict": "_shown",
    "finished_labels": "_run_labels",
    **dict.fromkeys(("Succession", "ends_at"), "_succession"),
    "find_suite": "_suites",
    **dict.fromkeys(("Forgotten", "ProjectTraffic", "Rest", "subject_key"), "_traffic"),
}


def __getattr__(name: str) -> Any:
    """Import what counts and bills when first asked for: NumPy alone costs `serve` 130 ms of CPU."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
