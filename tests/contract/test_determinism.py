"""Endorsing peers must agree to the byte: the same calls give the same state whatever Python's hash seed."""

import hashlib
import os
import re
import subprocess
import sys

from tests.support.consortium import Behaviour, Consortium


def state_digest() -> str:
    """Digest of the state after two rounds with some trouble. Certificates are fresh in every process, so they are masked."""
    consortium = Consortium(7)
    consortium.start()
    silent = consortium.round()["aggregators"][0]
    behaviour = Behaviour(silent={"sum": {silent}, "reveal": {consortium.hospitals[5]}}, other_candidate={consortium.hospitals[1]})
    consortium.play_round(behaviour)
    consortium.play_round()
    people = [consortium.researcher, *map(consortium.gateway, consortium.hospitals)]
    state = repr([(key, value) for key, (value, _) in sorted(consortium.ledger.state.items())])
    names = {certificate.fingerprint: f"certificate {number}" for number, certificate in enumerate(people)}
    masked = re.sub("|".join(names), lambda found: names[found[0]], state)
    lines = sorted(masked.split("), ("))  # keys that hold a fingerprint sort by it
    return hashlib.sha256("\n".join(line.strip("[()]") for line in lines).encode()).hexdigest()


def test_the_state_does_not_depend_on_the_hash_seed() -> None:
    code = "from tests.contract.test_determinism import state_digest; print(state_digest())"
    digests = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        digests.add(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(digests) == 1
