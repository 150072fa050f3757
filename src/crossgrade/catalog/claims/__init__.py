"""Headline figures on open against proprietary models, each computed again and judged by the numbers."""

from crossgrade.catalog.claims._judge import Claim, ClaimStatus, Figure, figures_of, judge
from crossgrade.catalog.claims._table import check_claims

__all__ = ["Claim", "ClaimStatus", "Figure", "check_claims", "figures_of", "judge"]
