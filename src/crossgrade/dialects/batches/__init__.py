"""Pure translations of the batch APIs' files, orders and results, with one dialect for each API."""

from crossgrade.dialects._batch import (
    BatchDialect,
    BatchList,
    BatchOrder,
    BatchResult,
    BatchState,
    BatchStatus,
    Item,
    ListedBatch,
    ReadPage,
    Upload,
    batch_order,
    decoded,
    files_named,
    is_being_read,
    made_id,
)
from crossgrade.dialects.anthropic.batch import ANTHROPIC_BATCHES
from crossgrade.dialects.batches._like_openai import OPENROUTER_BATCHES, TOGETHER_BATCHES
from crossgrade.dialects.batches._mistral import MISTRAL_BATCHES
from crossgrade.dialects.batches._xai import XAI_BATCHES
from crossgrade.dialects.gemini.batch import GEMINI_BATCHES
from crossgrade.dialects.hosts import BatchKind
from crossgrade.dialects.openai_chat.batch import AZURE_BATCHES, OPENAI_BATCHES

BATCH_DIALECTS: dict[BatchKind, BatchDialect] = {
    "anthropic": ANTHROPIC_BATCHES,
    "azure": AZURE_BATCHES,
    "gemini": GEMINI_BATCHES,
    "mistral": MISTRAL_BATCHES,
    "openai": OPENAI_BATCHES,
    "openrouter": OPENROUTER_BATCHES,
    "together": TOGETHER_BATCHES,
    "xai": XAI_BATCHES,
}
"""The dialect of each kind of batch API that a host may have."""

__all__ = [
    "BATCH_DIALECTS",
    "BatchDialect",
    "BatchList",
    "BatchOrder",
    "BatchResult",
    "BatchState",
    "BatchStatus",
    "Item",
    "ListedBatch",
    "ReadPage",
    "Upload",
    "batch_order",
    "decoded",
    "files_named",
    "is_being_read",
    "made_id",
]
