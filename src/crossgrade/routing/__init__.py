"""Defines request facts, policies and the route table, for both certifying and serving.

It needs only the standard library. `routing.export` writes routes for other proxies.
"""

from crossgrade.routing._bytes import read_route_table, route_table_bytes, route_table_digest
from crossgrade.routing.policy import Policy, PolicyKind, RequestFacts, SegmentFact
from crossgrade.routing.router import (
    FACTS,
    THRESHOLD_UNITS,
    ZERO_WEIGHT,
    Head,
    Router,
    buckets,
    opening_text,
    read_router,
    router_tree,
    text_facts,
    threshold_name,
)
from crossgrade.routing.table import (
    Growth,
    Route,
    RouteTable,
    aborted,
    by_weight,
    grown,
    held_back,
    position,
    promoted,
    succeeded,
)
from crossgrade.routing.topics import WORD, Topics, scored_text, topic_words

__all__ = [
    "FACTS",
    "THRESHOLD_UNITS",
    "WORD",
    "ZERO_WEIGHT",
    "Growth",
    "Head",
    "Policy",
    "PolicyKind",
    "RequestFacts",
    "Route",
    "RouteTable",
    "Router",
    "SegmentFact",
    "Topics",
    "aborted",
    "buckets",
    "by_weight",
    "grown",
    "held_back",
    "opening_text",
    "position",
    "promoted",
    "read_route_table",
    "read_router",
    "route_table_bytes",
    "route_table_digest",
    "router_tree",
    "scored_text",
    "succeeded",
    "text_facts",
    "threshold_name",
    "topic_words",
]
