"""Who asks: API keys, verified tokens, tiers."""

from crossgrade.identity.principal import Principal

__all__ = ["Principal"]
