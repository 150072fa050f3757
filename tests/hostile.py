"""Values of wrong types for every place of a JSON document, for tests of readers."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
"""Any JSON value, NaN and infinity included, which Python's own writer lets through."""

WRONG: tuple[Any, ...] = (
    None,
    True,
    7,
    -0.5,
    10**9,
    2**31 - 1,
    10**400,
    "",
    "x",
    [],
    ["x"],
    [[]],
    [None],
    {},
    {"a": [1]},
)
"""One value of each kind that readers trip over: values that do not hash, numbers whose sum no column holds, and one
beyond all floats too."""


def put_anywhere(data: st.DataObject, tree: Any, values: st.SearchStrategy[Any] = VALUES) -> None:
    """Put a drawn value into a drawn place of a document, which is changed."""
    place = tree
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = data.draw(values)
            return
        place = place[key]


def with_wrong_values(tree: Any) -> Iterator[Any]:
    """Yield a document's copies, each with one value of `WRONG` in one of its places: all of these."""
    for path in _places(tree):
        for value in WRONG:
            copy = deepcopy(tree)
            *outer, last = path
            place = copy
            for key in outer:
                place = place[key]
            place[last] = deepcopy(value)
            yield copy


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from _places(value, (*path, key))
