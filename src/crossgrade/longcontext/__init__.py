"""Measures the prompt length at which a model's quality falls below the floor, on the user's documents."""

from crossgrade.longcontext._asking import Asker, ProbeAnswer, ProbeCalls
from crossgrade.longcontext._chat_format import ChatFormat, read_chat_format
from crossgrade.longcontext._documents import Document, read_documents, synthetic_documents
from crossgrade.longcontext._haystack import HaystackPool, HaystackPrompt
from crossgrade.longcontext._journal import OldJournal, check_same_settings, digest, read_journal
from crossgrade.longcontext._plan import ProbeEstimate, estimate_probe
from crossgrade.longcontext._probe import Probe, ProbeSettings, check_settings
from crossgrade.longcontext._prompts import Stack, build_stack
from crossgrade.longcontext._questions import (
    DEFAULT_KINDS,
    KINDS,
    Kind,
    Question,
    QuestionMaker,
    read_pairs,
    score_answer,
)
from crossgrade.longcontext._ruler import RulerRow, ruler_table
from crossgrade.longcontext._ruler_run import RulerCell, RulerResult, run_ruler
from crossgrade.longcontext._ruler_tasks import RULER_TASKS, RulerMaker, RulerSample
from crossgrade.longcontext._search import ALONE_TOKENS, BASE, LengthSearch, Rung, ladder
from crossgrade.longcontext._tokenizers import Tokenizer, bytes_tokenizer, read_tokenizer, served_tokenizer

__all__ = [
    "ALONE_TOKENS",
    "BASE",
    "DEFAULT_KINDS",
    "KINDS",
    "RULER_TASKS",
    "Asker",
    "ChatFormat",
    "Document",
    "HaystackPool",
    "HaystackPrompt",
    "Kind",
    "LengthSearch",
    "OldJournal",
    "Probe",
    "ProbeAnswer",
    "ProbeCalls",
    "ProbeEstimate",
    "ProbeSettings",
    "Question",
    "QuestionMaker",
    "RulerCell",
    "RulerMaker",
    "RulerResult",
    "RulerRow",
    "RulerSample",
    "Rung",
    "Stack",
    "Tokenizer",
    "build_stack",
    "bytes_tokenizer",
    "check_same_settings",
    "check_settings",
    "digest",
    "estimate_probe",
    "ladder",
    "read_chat_format",
    "read_documents",
    "read_journal",
    "read_pairs",
    "read_tokenizer",
    "ruler_table",
    "run_ruler",
    "score_answer",
    "served_tokenizer",
    "synthetic_documents",
]
