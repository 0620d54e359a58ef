"""The part of a resource that views use, as the typed columns of a DuckDB table.

Only these elements are read out of each line: a resource has hundreds, a task asks for a handful.
"""

from dataclasses import dataclass, field

from gateway.fhir.elements import PRIMITIVES


@dataclass
class Node:
    """An element that some path reaches; `children` grows while views are compiled."""

    type: str
    children: "dict[str, tuple[Node, bool]]" = field(default_factory=dict)
    """Element → (node, whether it is a list)."""

    def child(self, name: str, type_name: str, *, many: bool) -> "Node":
        """The node of an element of this one, made when a path first reaches it."""
        if name not in self.children:
            self.children[name] = (Node(type_name), many)
        return self.children[name][0]

    def shape(self) -> object:
        """What `json_transform` is to make of this element; JSON where only its presence matters."""
        if self.type in PRIMITIVES:
            return PRIMITIVES[self.type]
        if not self.children:
            return "JSON"
        return {name: [node.shape()] if many else node.shape() for name, (node, many) in sorted(self.children.items())}
