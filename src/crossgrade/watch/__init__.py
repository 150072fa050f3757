"""Watches active routes: scores live pairs, monitors claims, raises alarms and steps routes back."""

from crossgrade.watch._conditions import Ending
from crossgrade.watch._conformity import ConformStanding
from crossgrade.watch._days import DayCounter
from crossgrade.watch._growth import GrowthStanding, ThresholdEvidence
from crossgrade.watch._look import Look, Standing, live_desk, look
from crossgrade.watch._renewing import OfferLook, OfferWatch, look_for_offers
from crossgrade.watch._sealed import SealedStanding
from crossgrade.watch._webhook import SIGNATURE_HEADER, signature

__all__ = [
    "SIGNATURE_HEADER",
    "ConformStanding",
    "DayCounter",
    "Ending",
    "GrowthStanding",
    "Look",
    "OfferLook",
    "OfferWatch",
    "SealedStanding",
    "Standing",
    "ThresholdEvidence",
    "live_desk",
    "look",
    "look_for_offers",
    "signature",
]
