"""The batch APIs' files, orders and results, as pure translations: one dialect an API."""

from crossgrade.wire.batches._anthropic import ANTHROPIC_BATCHES
from crossgrade.wire.batches._dialect import BatchDialect, ReadPage, Upload
from crossgrade.wire.batches._gemini import GEMINI_BATCHES
from crossgrade.wire.batches._mistral import MISTRAL_BATCHES
from crossgrade.wire.batches._openai import AZURE_BATCHES, OPENAI_BATCHES
from crossgrade.wire.batches._openrouter import OPENROUTER_BATCHES
from crossgrade.wire.batches._records import (
    BatchList,
    BatchOrder,
    BatchResult,
    BatchState,
    BatchStatus,
    Item,
    ListedBatch,
    batch_order,
    decoded,
    files_named,
    is_being_read,
    made_id,
)
from crossgrade.wire.batches._together import TOGETHER_BATCHES
from crossgrade.wire.batches._xai import XAI_BATCHES
from crossgrade.wire.hosts import BatchKind

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
