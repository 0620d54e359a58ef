"""How many sums a key may open before its flooding hides too little. The integers are those of privacy/flooding.py, which proves them."""

from fabric.contract import clock
from fabric.contract.groups import count_for
from fabric.contract.records import RoundRecord, TaskState, TaskTerms

STATISTICAL_BITS = 16
WORN = "opening the sums once more would wear the key out"

_DEGREE, _VALUES_PER_CHUNK = 4096, 4080
_LARGEST_VALUE = 2 << 50  # of one coefficient of a sum, at the scale
_NOISE_SIGMAS, _TOLERANCE_INVERSE, _MOST_FLOODING_BITS = 12, 10_000, 30


def decryption_limit(*, parameters: int, holders: int, threshold: int, members: int) -> int:
    """Sums of `parameters` values and at most `members` vectors that a key of `holders` may open."""
    chunks = -(-parameters // _VALUES_PER_CHUNK)
    variance_18ths = members * (_DEGREE * holders + 2)
    sigma_squared = 1 << 2 * _flooding_bits(quorum=threshold, members=members)
    return 2 * 18 * sigma_squared // (chunks * _DEGREE * variance_18ths << STATISTICAL_BITS)


def limit_for(terms: TaskTerms, hospitals: int) -> int:
    """How many sums the key of this task may open if so many hospitals hold it."""
    threshold = clock.quorum(hospitals)
    members = min(hospitals, 2 * terms["group_size"] - 1)
    return decryption_limit(parameters=terms["parameters"], holders=hospitals, threshold=threshold, members=members)


def needed(terms: TaskTerms, hospitals: int, *, from_round: int) -> int:
    """Sums that the task's rounds from this one on open if nothing has to be opened twice."""
    return (terms["rounds"] - from_round + 1) * count_for(hospitals, terms["group_size"])


def worn_out(terms: TaskTerms, hospitals: int, *, first_round: int) -> str:
    """Why one key of so many hospitals cannot serve the task; empty where it can."""
    limit, wanted = limit_for(terms, hospitals), needed(terms, hospitals, from_round=first_round)
    if wanted <= limit:
        return ""
    return (
        f"one key of {hospitals} hospitals may open {limit} sums of {terms['parameters']} values, and the task's rounds open {wanted}; "
        "plan fewer rounds or larger groups, train fewer parameters, or divide the task in two, each with a key of its own"
    )


def bears(terms: TaskTerms, progress: TaskState, record: RoundRecord, sums: int) -> bool:
    """Whether the key bears opening `sums` sums now and, after this round, one of each group in each round that is left."""
    hospitals = len(progress["participants"])
    left = needed(terms, hospitals, from_round=record["round"] + 1)
    return progress["decryptions"] + record["decryptions"] + sums + left <= limit_for(terms, hospitals)


def bears_one_more(terms: TaskTerms, progress: TaskState, under_way: RoundRecord | None) -> bool:
    """Whether the key bears one opening beside those that all rounds still need, the one that is `under_way` among them."""
    hospitals = len(progress["participants"])
    if under_way is None:
        return progress["decryptions"] + 1 <= limit_for(terms, hospitals)
    own = 0 if under_way["sums"] else count_for(hospitals, terms["group_size"])
    return bears(terms, progress, under_way, own + 1)


def _flooding_bits(*, quorum: int, members: int) -> int:
    for bits in range(_MOST_FLOODING_BITS, 0, -1):
        if (_NOISE_SIGMAS * _TOLERANCE_INVERSE * members << bits) ** 2 * quorum <= _LARGEST_VALUE**2:
            return bits
    return 0
