"""What the product's HTML pages share: one style and one form of table. A page needs nothing but itself."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files


def style() -> str:
    """The style element of a page's head."""
    return files("gateway.researcher").joinpath("style.html").read_text(encoding="utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text, which is escaped."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
