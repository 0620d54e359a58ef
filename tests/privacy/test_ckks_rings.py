"""The compiled ring arithmetic against plain Python integers."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.packing import pack, packed_size, unpack
from privacy.parameters import DATA_MODULUS, DEGREE, SPECIAL_MODULUS
from privacy.rings import Ring, data_ring, key_rings, smallest_root
from tests.support.ring_oracles import evaluation_point, negacyclic_product, value_at

SMALL = Ring(16, 97)
# The largest size the kernels promise: a prime just below 2^62 that is 1 modulo 32.
WIDE = Ring(16, 4611686018427387617)


def residues(ring: Ring) -> st.SearchStrategy[list[int]]:
    edges = st.sampled_from([0, 1, ring.modulus - 1])
    return st.lists(edges | st.integers(0, ring.modulus - 1), min_size=ring.degree, max_size=ring.degree)


def as_row(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


@pytest.mark.parametrize("ring", [SMALL, WIDE], ids=["small", "wide"])
@given(data=st.data())
@settings(deadline=None)
def test_product_of_evaluated_polynomials_is_the_negacyclic_product(ring: Ring, data: st.DataObject) -> None:
    a, b = data.draw(residues(ring)), data.draw(residues(ring))
    product = ring.interpolate(ring.multiply(ring.evaluate(as_row(a)), ring.evaluate(as_row(b))))
    assert product.tolist() == negacyclic_product(a, b, ring.modulus)


@pytest.mark.parametrize("ring", [SMALL, WIDE], ids=["small", "wide"])
@given(data=st.data())
@settings(deadline=None)
def test_entries_are_values_at_the_named_points(ring: Ring, data: st.DataObject) -> None:
    a = data.draw(residues(ring))
    root = smallest_root(ring.degree, ring.modulus)
    points = [evaluation_point(i, ring.degree, root, ring.modulus) for i in range(ring.degree)]
    assert ring.evaluate(as_row(a)).tolist() == [value_at(a, point, ring.modulus) for point in points]


@given(data=st.data())
@settings(deadline=None)
def test_sums_negation_and_scaling(data: st.DataObject) -> None:
    a, b, factor = data.draw(residues(WIDE)), data.draw(residues(WIDE)), data.draw(st.integers(0, 2**64))
    q = WIDE.modulus
    assert WIDE.add(as_row(a), as_row(b)).tolist() == [(x + y) % q for x, y in zip(a, b, strict=True)]
    assert WIDE.negate(as_row(a)).tolist() == [-x % q for x in a]
    assert WIDE.scale(as_row(a), factor).tolist() == [x * factor % q for x in a]


@pytest.mark.parametrize("ring", key_rings(), ids=["data prime", "special prime"])
def test_the_product_ring(ring: Ring) -> None:
    source = random.Random(4096)
    a, b = ([source.randrange(ring.modulus) for _ in range(DEGREE)] for _ in range(2))
    evaluated = ring.evaluate(as_row(a))
    root = smallest_root(DEGREE, ring.modulus)
    for position in (0, 1, 2, 1234, DEGREE - 1):
        assert int(evaluated[position]) == value_at(a, evaluation_point(position, DEGREE, root, ring.modulus), ring.modulus)
    product = ring.interpolate(ring.multiply(evaluated, ring.evaluate(as_row(b))))
    assert product.tolist() == negacyclic_product(a, b, ring.modulus)


def test_rows_are_independent_and_inputs_unchanged() -> None:
    rows = np.arange(3 * DEGREE, dtype=np.uint64).reshape(3, DEGREE)
    together = data_ring().evaluate(rows)
    assert (together == np.stack([data_ring().evaluate(row) for row in rows])).all()
    assert (data_ring().interpolate(together) == np.arange(3 * DEGREE).reshape(3, DEGREE)).all()
    assert rows[2, -1] == 3 * DEGREE - 1


def test_root_is_the_smallest_of_order_2n() -> None:
    assert smallest_root(16, 97) == min(r for r in range(97) if pow(r, 16, 97) == 96)


@given(st.integers(-(2**53) + 1, 2**53 - 1))
@settings(deadline=None)
def test_lift_and_centre(value: int) -> None:
    lifted = data_ring().lift(np.array([value], dtype=np.int64))
    assert int(lifted[0]) == value % DATA_MODULUS
    assert data_ring().centre(lifted).tolist() == [(value + DATA_MODULUS // 2) % DATA_MODULUS - DATA_MODULUS // 2]


@pytest.mark.parametrize(("degree", "modulus"), [(12, 97), (1, 97), (16, 101), (16, 4611686018427388097)])
def test_unsuitable_rings_are_refused(degree: int, modulus: int) -> None:
    with pytest.raises(ValueError, match="no ring of degree"):
        Ring(degree, modulus)


@pytest.mark.parametrize("modulus", [DATA_MODULUS, SPECIAL_MODULUS])
@given(data=st.data())
@settings(deadline=None)
def test_packing_is_little_endian_and_reversible(modulus: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.sampled_from([0, 1, modulus - 1]) | st.integers(0, modulus - 1), min_size=64, max_size=64))
    packed = pack(as_row(values), modulus)
    whole = sum(value << (i * modulus.bit_length()) for i, value in enumerate(values))
    assert packed == whole.to_bytes(packed_size(64, modulus), "little")
    assert unpack(packed, 64, modulus).tolist() == values


@pytest.mark.parametrize("position", [0, 31, 63])
def test_unpacking_refuses_values_not_below_the_modulus(position: int) -> None:
    values = [0] * 64
    values[position] = DATA_MODULUS
    with pytest.raises(ValueError, match=f"coefficient {position} is {DATA_MODULUS}"):
        unpack(pack(as_row(values), DATA_MODULUS), 64, DATA_MODULUS)


@pytest.mark.parametrize("length", [0, 431, 433, 864])
def test_unpacking_refuses_other_lengths(length: int) -> None:
    with pytest.raises(ValueError, match="432 bytes"):
        unpack(bytes(length), 64, DATA_MODULUS)
