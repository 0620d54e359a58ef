"""Where records stand in the state: Fabric composite keys, written as its shim writes them."""

from fabric.contract.errors import ContractError

MAX_RUNE = "\U0010ffff"


def key(kind: str, *attributes: str | int) -> str:
    """Composite key of a record. Numbers are padded so that range reads give them in order."""
    parts = [f"{attribute:08d}" if isinstance(attribute, int) else attribute for attribute in attributes]
    for part in parts:
        if "\x00" in part or MAX_RUNE in part:
            raise ContractError("BAD_ARGUMENT", f"a name in the key of {kind} holds a character that Fabric reserves; leave it out")
    return "\x00" + "".join(part + "\x00" for part in (kind, *parts))


def span(kind: str, *attributes: str | int) -> tuple[str, str]:
    """Start and end of the range that holds every record of a kind below these attributes."""
    start = key(kind, *attributes)
    return start, start + MAX_RUNE
