"""Gemini's generateContent API, as a provider's."""

from crossgrade.dialects._dialect import Dialect
from crossgrade.dialects.gemini.upstream import CandidateReader, decode, encode
from crossgrade.dialects.gemini.usage import gemini_counts

GEMINI = Dialect(
    encode=encode,
    decode=decode,
    reader=CandidateReader,
    counts=gemini_counts,
    usage_field="usageMetadata",
)
