"""What an audit committee's findings amount to. Pure, so that an auditor comes to the same outcome."""

from collections import Counter
from collections.abc import Mapping

from fabric.contract.records import Finding
from fabric.contract.slashing import FAILED_OPENING, HARMFUL_UPDATE

SOUND, MALFORMED, HARMFUL, UNREADABLE = "sound", "malformed", "harmful", "unreadable"
GUILTY, UNFOUNDED, LAPSED = "guilty", "unfounded", "lapsed"
REASONS = {MALFORMED: FAILED_OPENING, HARMFUL: HARMFUL_UPDATE}


def verdict(judges: int, findings: Mapping[str, Finding]) -> tuple[str, str]:
    """Outcome, and for GUILTY why: more than half of the `judges` must have found the same about the same opened update.

    Judges that opened something else, or found another fault, do not count together: opening is deterministic, so who differs is wrong.
    Where most could not read it, the key holders are to blame and neither party: the dispute lapses.
    """
    counted = Counter((each["finding"], each["opened_digest"]) for each in findings.values() if each["finding"] != SOUND)
    for (finding, _), votes in counted.items():
        if 2 * votes > judges:
            return (LAPSED, "") if finding == UNREADABLE else (GUILTY, REASONS[finding])
    return UNFOUNDED, ""


def withheld(answers: Mapping[str, str | None], quorum: int) -> bool:
    """Whether the accused kept its ciphertext from the key holders: most of them answered, and none of those got it.

    `answers`: by holder, the digest of its shares, None where it got no ciphertext. That one holder got it shows that it was there.
    """
    return 2 * len(answers) > quorum and all(digest is None for digest in answers.values())
