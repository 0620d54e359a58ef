"""The part of a resource that views use, as the typed columns of a DuckDB table.

Only these elements are read out of each line: a resource has hundreds, a task asks for a handful.
"""

import json
from dataclasses import dataclass, field

from gateway.fhir.elements import PRIMITIVES


@dataclass
class Node:
    """An element that some path reaches; it grows while views are compiled."""

    type: str
    children: "dict[str, tuple[Node, bool]]" = field(default_factory=dict)
    """Element → (node, whether it is a list)."""
    whole: set[str] = field(default_factory=set)
    """Elements kept as JSON with all that is in them, because a `repeat` descends into them."""
    repeated: "dict[tuple[str, ...], Node]" = field(default_factory=dict)
    """Paths of a `repeat` that starts here → what its items are read as."""
    as_written: bool = False
    """For decimals: whether the digits that were written matter, 1.0 and 1.00 being different."""

    def child(self, name: str, type_name: str, *, many: bool) -> "Node":
        """The node of an element of this one, made when a path first reaches it."""
        if name not in self.children:
            self.children[name] = (Node(type_name), many)
        return self.children[name][0]

    def items(self, paths: tuple[str, ...], type_name: str) -> "Node":
        """The node of the items of a `repeat` that starts here."""
        return self.repeated.setdefault(paths, Node(type_name))

    def shape(self) -> object:
        """What `json_transform` is to make of this element; JSON where only its presence matters."""
        if self.as_written:
            return "VARCHAR"
        if self.type in PRIMITIVES:
            return PRIMITIVES[self.type]
        names = self.children.keys() | self.whole
        return {name: "JSON" if name in self.whole else self.child_shape(name) for name in sorted(names)} or "JSON"

    def child_shape(self, name: str) -> object:
        """The shape of one child, as if no `repeat` needed it whole."""
        node, many = self.children[name]
        return [node.shape()] if many else node.shape()

    def keeps_digits(self) -> bool:
        """Whether a decimal in here is read as it was written."""
        nodes = [*(node for node, _ in self.children.values()), *self.repeated.values()]
        return self.as_written or any(node.keeps_digits() for node in nodes)


def structure(shape: object) -> str:
    """A shape as the second argument of `json_transform`."""
    return json.dumps(shape, separators=(",", ":"))


def column_type(shape: object) -> str:
    """A shape as the type of a DuckDB column."""
    if isinstance(shape, dict):
        fields = ", ".join(f'"{name}" {column_type(part)}' for name, part in shape.items())
        return f"STRUCT({fields})"
    return f"{column_type(shape[0])}[]" if isinstance(shape, list) else str(shape)
