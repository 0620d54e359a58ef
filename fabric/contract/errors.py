"""Why the contract refuses: every refusal has a code for programs and a sentence for people."""

import re


class ContractError(Exception):
    """A refusal by a rule. The ledger carries it as `CODE: sentence`, so that clients can tell refusals apart."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


def parse_refusal(message: str) -> tuple[str, str] | None:
    """Find `CODE: sentence` in an error text that passed through a peer; None where no contract refusal is in it."""
    found = re.search(r"\b([A-Z][A-Z_]+[A-Z]): (.+)", message, re.DOTALL)
    return (found[1], found[2]) if found else None
