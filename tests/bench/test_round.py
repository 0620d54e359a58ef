"""`bench round`: every variant really adds up, and a run tells what it must."""

import numpy as np
import pytest

from gateway.bench.codecs import Codec, NvflareParameters, Ours, Plain, our_codecs
from gateway.bench.memory import peak_rss_bytes
from gateway.bench.round import VARIANTS, RoundBench, run

PARAMETERS, HOSPITALS = 5000, 4


def codecs(variant: str) -> list[Codec]:
    """The aggregator's and the hospitals'."""
    if variant == "ours":
        return list(our_codecs(hospitals=HOSPITALS, parameters=PARAMETERS))
    context = NvflareParameters.new_context()
    return [Plain() if variant == "plain" else NvflareParameters(context) for _ in range(HOSPITALS + 1)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_gives_the_plain_sum(variant: str) -> None:
    hub, *hospitals = codecs(variant)
    vectors = np.random.default_rng(1).uniform(-1, 1, (HOSPITALS, PARAMETERS))
    total = hub.add([codec.encode(vector) for codec, vector in zip(hospitals, vectors, strict=True)])
    shares = {codec.index: codec.share(total) for codec in hospitals if isinstance(codec, Ours) and codec.index in codec.quorum}
    assert np.abs(hospitals[-1].decode(total, shares) - vectors.sum(axis=0)).max() < 1e-4
    assert len(shares) == (3 if variant == "ours" else 0)


def test_the_peak_of_memory_covers_what_was_held() -> None:
    held = np.ones(30_000_000)  # 240 MB, written to, so really there
    assert peak_rss_bytes() > held.nbytes


@pytest.mark.slow
def test_a_run_measures_processes_of_their_own() -> None:
    said: list[str] = []
    report = run(RoundBench(parameters=(300,), hospitals=(3,), rounds=2), said.append)
    assert said == [f"{variant}: 300 parameters, 3 hospitals" for variant in VARIANTS]
    for row, variant in zip(report.data["results"], VARIANTS, strict=True):
        assert (row["what"], row["variant"], row["parameters"], row["hospitals"]) == ("round", variant, 300, 3)
        assert row["seconds_per_round"] > 0
        assert row["max_error"] < 1e-4
        assert min(row["peak_rss_bytes"].values()) > 1 << 20
        assert sum(row["phases"].values()) > 0
    ours, plain, _ = report.data["results"]
    assert plain["upload_bytes_per_parameter"] == 4
    assert ours["phases"]["partial decryption"] > 0
