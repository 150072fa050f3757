"""Defines request facts, policies and the route table, for both certifying and serving.

It needs only the standard library. `routing.export` writes routes for other proxies.
"""

from crossgrade.routing._bytes import read_route_table, route_table_bytes, route_table_digest
from crossgrade.routing.policy import Policy, PolicyKind, RequestFacts, SegmentFact
from crossgrade.routing.table import Route, RouteTable, aborted, by_weight, position, promoted

__all__ = [
    "Policy",
    "PolicyKind",
    "RequestFacts",
    "Route",
    "RouteTable",
    "SegmentFact",
    "aborted",
    "by_weight",
    "position",
    "promoted",
    "read_route_table",
    "route_table_bytes",
    "route_table_digest",
]
