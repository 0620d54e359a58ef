"""Write threshold.json: `python -m tests.privacy.vectors.generate`.

Needed only when a format or a derivation changes on purpose; the difference then belongs into the changelog, because hospitals of the old
and the new version do not understand each other. Ciphertexts are new each time, everything else follows from the seeds.
"""

import base64
import hashlib
import json
from typing import Any

import numpy as np

from privacy import ckks, dealing
from tests.support.threshold_keys import ceremony, seeded_entropy
from tests.support.threshold_vectors import VECTORS, replay

HOLDERS, THRESHOLD, QUORUM = 3, 2, [1, 3]
BOUND, MEMBERS = 2.0, 3
VALUES = [[2.0, -2.0, 0.0, 0.123456789, -1.5], [-0.5, -2.0, 1e-3, 1.75, 0.25]]

# 54-bit ones, which are not below the data modulus, and the place of c1 in a one-chunk ciphertext.
_TOO_LARGE, _C1_AT, _POLYNOMIAL_BYTES = "ff" * 7, 56 + 27648, 27648
_BESIDE = {"write": [{"at": 68, "hex": "00 01 02 03 04 05 06 00"}]}

BAD: list[dict[str, Any]] = [
    {"name": "public share cut short", "object": "public share 1", "cut_to": 65623, "step": "check_public_share"},
    {"name": "public share too long", "object": "public share 1", "append": "00", "step": "check_public_share"},
    {
        "name": "public share coefficient not below the data modulus",
        "object": "public share 2",
        "write": [{"at": 88, "hex": "01 60 fd ff ff ff 3f 00"}],
        "step": "check_public_share",
    },
    {
        "name": "public share for another common reference string",
        "object": "public share 2",
        "write": [{"at": 24, "hex": "00", "times": 32}],
        "step": "check_public_share",
    },
    {
        "name": "public share of zero",
        "object": "public share 3",
        "write": [{"at": 88, "hex": "00", "times": 65536}],
        "step": "check_public_share",
    },
    {
        "name": "public share copied from another",
        "object": "public share 2",
        "copy_of": "public share 1",
        "step": "combine_public",
    },
    {"name": "part cut short", "object": "part 2", "cut_to": 65719, "step": "parse_part"},
    {"name": "part with another digest of a share", "object": "part 2", "write": [{"at": 65624, "hex": "00"}], "step": "check_share"},
    {"name": "share cut short", "object": "share 2 to 1", "cut_to": 100, "step": "check_share"},
    {"name": "share of another holder", "object": "share 2 to 1", "copy_of": "share 2 to 3", "step": "check_share"},
    {"name": "share of another dealer", "object": "share 2 to 1", "copy_of": "share 1 to 1", "step": "check_share"},
    {
        "name": "share with another residue",
        "object": "share 3 to 2",
        "write": [{"at": 68, "hex": "00 01 02 03 04 05 06 00"}],
        "step": "check_share",
    },
    {"name": "share beside the polynomial, committed to", "object": "share 3 to 2", "commit": True, **_BESIDE, "step": "check_share"},
    {
        "name": "share with another threshold, committed to",
        "object": "share 3 to 2",
        "commit": True,
        "write": [{"at": 7, "hex": "03"}],
        "step": "check_share",
    },
    {
        "name": "share coefficient not below the modulus, committed to",
        "object": "share 3 to 2",
        "commit": True,
        "write": [{"at": 68, "hex": "01 60 fd ff ff ff 3f 00"}],
        "step": "check_share",
    },
    {"name": "proof cut short", "object": "proof 1", "cut_to": 40, "step": "check_share"},
    {"name": "proof of another dealer", "object": "proof 1", "copy_of": "proof 2", "step": "check_share"},
    {"name": "proof with another residue", "object": "proof 1", "write": [{"at": 0, "hex": "00 01"}], "step": "check_share"},
    {"name": "proof residue not below the modulus", "object": "proof 1", "write": [{"at": 8, "hex": "ff" * 8}], "step": "check_share"},
    {"name": "holder key cut short", "object": "holder key 1", "cut_to": 40, "step": "partial_decrypt"},
    {"name": "empty ciphertext", "object": "ciphertext 1", "cut_to": 0, "step": "check_ciphertext"},
    {"name": "ciphertext cut short", "object": "ciphertext 1", "cut_to": 55351, "step": "check_ciphertext"},
    {"name": "ciphertext too long", "object": "ciphertext 1", "append": "00", "step": "check_ciphertext"},
    {"name": "ciphertext of another version", "object": "ciphertext 1", "write": [{"at": 4, "hex": "01"}], "step": "check_ciphertext"},
    {"name": "ciphertext of another scale", "object": "ciphertext 1", "write": [{"at": 5, "hex": "28"}], "step": "check_ciphertext"},
    {"name": "ciphertext of another degree", "object": "ciphertext 1", "write": [{"at": 6, "hex": "0020"}], "step": "check_ciphertext"},
    {"name": "ciphertext of another modulus", "object": "ciphertext 1", "write": [{"at": 8, "hex": "03"}], "step": "check_ciphertext"},
    {
        "name": "ciphertext for another key",
        "object": "ciphertext 2",
        "write": [{"at": 16, "hex": "00", "times": 32}],
        "step": "check_ciphertext",
    },
    {"name": "ciphertext of another count", "object": "ciphertext 2", "write": [{"at": 48, "hex": "06"}], "step": "check_ciphertext"},
    {
        "name": "ciphertext coefficient not below the modulus",
        "object": "ciphertext 2",
        "write": [{"at": _C1_AT, "hex": _TOO_LARGE}],
        "step": "check_ciphertext",
    },
    {
        "name": "transparent ciphertext",
        "object": "ciphertext 2",
        "write": [{"at": _C1_AT, "hex": "00", "times": _POLYNOMIAL_BYTES}],
        "step": "check_ciphertext",
    },
    {"name": "replayed ciphertext", "object": "ciphertext 2", "copy_of": "ciphertext 1", "step": "add"},
    {
        "name": "transparent sum",
        "object": "sum",
        "write": [{"at": _C1_AT, "hex": "00", "times": _POLYNOMIAL_BYTES}],
        "step": "partial_decrypt",
    },
    {"name": "sum for another key", "object": "sum", "write": [{"at": 16, "hex": "00", "times": 32}], "step": "partial_decrypt"},
    {"name": "key of another holder", "object": "holder key 3", "copy_of": "holder key 2", "step": "partial_decrypt"},
    {"name": "altered sum", "object": "sum", "write": [{"at": 100, "hex": "00 01 02 03 04 05 06 07"}], "step": "check_partial"},
    {"name": "partial cut short", "object": "partial 1", "cut_to": 27727, "step": "check_partial"},
    {"name": "partial of another holder", "object": "partial 1", "copy_of": "partial 3", "step": "check_partial"},
    {"name": "partial for another quorum", "object": "partial 1", "write": [{"at": 16, "hex": "0e"}], "step": "check_partial"},
    {
        "name": "partial of another ciphertext",
        "object": "partial 1",
        "write": [{"at": 48, "hex": "00", "times": 32}],
        "step": "check_partial",
    },
    {"name": "partial of another count", "object": "partial 1", "write": [{"at": 8, "hex": "06"}], "step": "check_partial"},
    {
        "name": "partial coefficient not below the modulus",
        "object": "partial 3",
        "write": [{"at": 80, "hex": _TOO_LARGE}],
        "step": "check_partial",
    },
    {"name": "false partial", "object": "partial 3", "write": [{"at": 80, "hex": "00 01 02 03 04 05"}], "step": "fuse"},
    {"name": "partial of zero", "object": "partial 3", "write": [{"at": 80, "hex": "00", "times": 27648}], "step": "fuse"},
]


def main() -> None:
    entropy = seeded_entropy("vectors")
    vectors: dict[str, Any] = {
        "crs_seed": entropy(32).hex(),
        "seeds": [entropy(32).hex() for _ in range(HOLDERS)],
        "threshold": THRESHOLD,
        "quorum": QUORUM,
        "bound": BOUND,
        "members": MEMBERS,
        "count": len(VALUES[0]),
        "values": VALUES,
    }
    public_key = ceremony(holders=HOLDERS, threshold_size=THRESHOLD, name="vectors").public_key
    ciphertexts = [ckks.encrypt(public_key, np.array(row), bound=BOUND, members=MEMBERS) for row in VALUES]
    vectors["ciphertexts"] = [base64.b64encode(data).decode() for data in ciphertexts]
    objects = replay(vectors)
    parts = [hashlib.sha256(objects[f"part {i}"]).digest() for i in range(1, HOLDERS + 1)]
    vectors["challenge"] = dealing.challenge(bytes.fromhex(vectors["crs_seed"]), parts).hex()
    vectors["sha256"] = {name: hashlib.sha256(data).hexdigest() for name, data in objects.items()}
    vectors["bad"] = BAD
    (VECTORS / "threshold.json").write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
