"""The kinds of values that stand in a task file."""

from typing import Annotated

from pydantic import AfterValidator, Field

Count = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,62}$")]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds control or invisible characters; write plain text in one line")
    return text


Text = Annotated[str, AfterValidator(_printable)]
Scalar = Annotated[Text, Field(strict=True)] | Annotated[bool, Field(strict=True)] | Annotated[int, Field(strict=True)] | Number
