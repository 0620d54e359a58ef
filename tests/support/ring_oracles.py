"""Ring arithmetic in plain Python integers, written from the definitions: what the compiled kernels are compared with."""


def negacyclic_product(a: list[int], b: list[int], modulus: int) -> list[int]:
    """a * b in Z_q[X]/(X^N + 1), by packing both polynomials into big integers (Kronecker substitution)."""
    degree = len(a)
    width = 2 * modulus.bit_length() + degree.bit_length() + 1
    product = _packed(a, width) * _packed(b, width)
    mask = (1 << width) - 1
    raw = [product >> (width * i) & mask for i in range(2 * degree)]
    return [(raw[i] - raw[i + degree]) % modulus for i in range(degree)]


def value_at(coefficients: list[int], point: int, modulus: int) -> int:
    """The polynomial's value, by Horner's rule."""
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % modulus
    return value


def evaluation_point(position: int, degree: int, root: int, modulus: int) -> int:
    """Where entry `position` of an evaluated polynomial is evaluated: psi^(2 * bitreverse(position) + 1)."""
    bits = degree.bit_length() - 1
    return pow(root, 2 * int(f"{position:0{bits}b}"[::-1], 2) + 1, modulus)


def _packed(values: list[int], width: int) -> int:
    return int("".join(f"{value:0{width}b}" for value in reversed(values)), 2)
