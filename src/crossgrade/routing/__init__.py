"""Request facts and policies: standard library only, the same code in certification and online."""

from crossgrade.routing.policy import Policy, PolicyKind, RequestFacts

__all__ = ["Policy", "PolicyKind", "RequestFacts"]
