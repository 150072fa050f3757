"""Serving: the supervisor, the keeper of limits and records, the admin API."""

from crossgrade.serve._settings import Compiled, compile_settings
from crossgrade.serve._supervisor import ADMIN_KEY_ENV, DRAIN_S, Serve

__all__ = ["ADMIN_KEY_ENV", "DRAIN_S", "Compiled", "Serve", "compile_settings"]
