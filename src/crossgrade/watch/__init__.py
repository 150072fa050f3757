"""Watching routes in force: live pairs scored, claims monitored, alarms raised, routes stepped back."""

from crossgrade.watch._look import Look, Standing, look
from crossgrade.watch._webhook import SIGNATURE_HEADER, signature

__all__ = ["SIGNATURE_HEADER", "Look", "Standing", "look", "signature"]
