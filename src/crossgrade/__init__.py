"""Crossgrade: prove, price and serve a switch from a proprietary LLM API to an open-weight model."""

__version__ = "0.1.0"
