"""How deep JSON nests."""

from collections.abc import Callable
from typing import Any

MAX_DEPTH = 64
"""Deepest nesting of a resource; real ones stay below twenty."""


def too_deep(text: str, parsed: Callable[[], Any]) -> bool:
    """Whether `text`, whose content `parsed` gives, nests deeper than MAX_DEPTH levels."""
    # Counting brackets is cheap and never too low, so that few resources are walked.
    return text.count("{") + text.count("[") > MAX_DEPTH and _deeper(parsed(), MAX_DEPTH)


def _deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [child for item in level for child in _children(item)]
    return any(isinstance(item, dict | list) for item in level)


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
