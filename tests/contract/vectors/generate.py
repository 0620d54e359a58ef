"""Write the golden vectors beside this file from the formulas as published, without the contract's code.

python tests/contract/vectors/generate.py          (the vectors change only when the consortium's rules change)
"""

import hashlib
import json
import math
import random
from fractions import Fraction
from pathlib import Path

HERE = Path(__file__).parent
S = 10**6


def trust_after(state, signals):
    """q, P, X, T; G is the mean of the last 20 credits within 0 and S, one half before the first; E has four rounds at one half beside."""
    p, x, streak, history = state["positive"], state["negative"], state["streak"], list(state["history_ppm"])
    if signals["utility_ppm"] is not None:
        history = [*history, signals["utility_ppm"]][-20:]
    g = min(S, max(0, math.floor(Fraction(sum(history), len(history))))) if history else 500_000
    e = math.floor(Fraction(sum(history) + 4 * 500_000, len(history) + 4))
    suspected = state["quarantined"] if len(history) < 16 else e < (300_000 if state["quarantined"] else -150_000)
    present = signals["integrity"] and signals["attendance_ppm"] > 0
    terms = [(150_000, signals["attendance_ppm"]), (550_000, g), (50_000, signals["quality_ppm"])]
    terms += [(150_000, signals["norm_ppm"])] if signals["norm_ppm"] is not None else []
    terms += [(100_000, signals["validator_ppm"])] if signals["validator_ppm"] is not None else []
    q = math.floor(Fraction(sum(w * v for w, v in terms), sum(w for w, _ in terms))) if present else 0
    p = math.floor(Fraction(p * 980_000, S)) + q
    x = math.floor(Fraction(x * 970_000, S)) + 16 * max(0, S // 2 - q)
    after = {"positive": p, "negative": x, "streak": streak + 1 if present else 0, "history_ppm": history, "quarantined": suspected}
    return after, {"trust_ppm": math.floor(Fraction(p * S, p + x + 10 * S)), "utility_ppm": g, "effect_ppm": e}


def credit_vectors(rng):
    """S/2 + n·(rank - S/2) - Σ(E - S/2), from -2·S to 3·S."""
    cases = []
    for companions in (0, 1, 2, 2, 2, 2, 3, 5, 9, 14):
        rank = rng.choice([0, S, rng.randrange(S + 1)])
        effects = [rng.randrange(-S, 2 * S) for _ in range(companions)]
        credit = Fraction(S, 2) + (companions + 1) * (rank - Fraction(S, 2)) - sum(effect - Fraction(S, 2) for effect in effects)
        cases.append({"rank_ppm": rank, "companions_ppm": effects, "credit_ppm": int(min(3 * S, max(-2 * S, credit)))})
    return cases


def _history(rng):
    """Of a hospital that is good, one that is bad, or one in between."""
    middle = rng.choice([-600_000, 100_000, 700_000])
    return [rng.randrange(middle - S, middle + S) for _ in range(rng.choice([0, 7, 15, 16, 20, 20]))]


def trust_vectors(rng):
    cases = []
    for _ in range(40):
        state = {"positive": 0, "negative": 0, "streak": 0, "history_ppm": [], "quarantined": False}
        if rng.random() < 0.7:
            state = {
                "positive": rng.randrange(50 * S),
                "negative": rng.randrange(260 * S),
                "streak": rng.randrange(15),
                "history_ppm": _history(rng),
                "quarantined": rng.random() < 0.4,
            }
        signals = {
            "attendance_ppm": rng.choice([0, S, S]),
            "integrity": rng.random() < 0.8,
            "utility_ppm": rng.choice([None, -2 * S, 3 * S, rng.randrange(-S, 2 * S)]),
            "norm_ppm": rng.choice([None, rng.randrange(S)]),
            "quality_ppm": rng.randrange(S + 1),
            "validator_ppm": rng.choice([None, S, rng.randrange(S)]),
        }
        after, derived = trust_after(state, signals)
        cases.append({"state": state, "signals": signals, "after": after, **derived})
    return cases


def incentive_vectors(rng):
    cases = []
    for size in (1, 2, 3, 6, 16):
        budget = rng.randrange(10**9)
        hospitals = {}
        for number in range(size):
            history = [rng.randrange(S + 1) for _ in range(rng.randrange(21))]
            state = {
                "positive": rng.randrange(50 * S),
                "negative": rng.randrange(20 * S),
                "streak": rng.randrange(15),
                "history_ppm": history,
            }
            g = sum(history) // len(history) if history else S // 2
            t = state["positive"] * S // (state["positive"] + state["negative"] + 10 * S)
            m = S + 50_000 * min(state["streak"], 10)
            hospitals[f"H{number}"] = {"state": state, "weight": ((g * t) // S) * m // S}
        total = sum(entry["weight"] for entry in hospitals.values())
        pay = {mspid: budget * entry["weight"] // total for mspid, entry in hospitals.items()}
        cases.append({"budget_micro": budget, "hospitals": hospitals, "pay_micro": pay, "remainder_micro": budget - sum(pay.values())})
    nobody = {"positive": 0, "negative": 0, "streak": 0, "history_ppm": []}
    zero = {"state": nobody, "weight": 0}
    cases.append({"budget_micro": 9, "hospitals": {"A": zero, "B": zero}, "pay_micro": {"A": 0, "B": 0}, "remainder_micro": 0})
    return cases


def numbers(purpose, seed):
    """SHA-256 of purpose, NUL, seed, NUL, counter (8 bytes, big endian), as 256-bit numbers."""
    counter = 0
    while True:
        yield int.from_bytes(hashlib.sha256(f"{purpose}\0{seed}\0".encode() + counter.to_bytes(8, "big")).digest(), "big")
        counter += 1


def below(source, limit):
    while True:
        value = next(source)
        if value < 2**256 - 2**256 % limit:
            return value % limit


def cap(weights):
    """Largest c with c = 2·Σmin(w, c)/n, by trying which of the largest are cut."""
    values, n = sorted(weights.values(), reverse=True), len(weights)
    for k in range(n):
        if n - 2 * k <= 0:
            break
        c = math.floor(Fraction(2 * sum(values[k:]), n - 2 * k))
        if values[k] <= c:
            return {name: min(value, c) for name, value in weights.items()}
    return weights


def election_vectors(rng):
    cases = []
    for size in (1, 2, 3, 4, 6, 16):
        for scale in (1, 10**14):
            weights = {f"H{number:02d}": rng.choice([0, 1, scale, rng.randrange(1, scale + 1)]) for number in range(size)}
            seed = rng.randbytes(32).hex()
            shares = cap(weights)
            source, left, order = numbers("aggregators", seed), dict(sorted(shares.items())), []
            while left:
                usable = left if sum(left.values()) else dict.fromkeys(left, 1)
                point = below(source, sum(usable.values()))
                ends = {name: sum(list(usable.values())[: number + 1]) for number, name in enumerate(usable)}
                order.append(next(name for name, end in ends.items() if point < end))
                del left[order[-1]]
            cases.append({"seed": seed, "weights": weights, "capped": shares, "order": order})
    return cases


def group_vectors(rng):
    cases = []
    for size, group_size in ((3, 3), (5, 3), (6, 3), (7, 3), (11, 3), (16, 5), (4, 9)):
        seed, members = rng.randbytes(32).hex(), [f"H{number:02d}" for number in range(size)]
        order, source = list(members), numbers("groups", seed)
        for last in range(size - 1, 0, -1):
            other = below(source, last + 1)
            order[last], order[other] = order[other], order[last]
        count = max(1, size // group_size)
        sizes = [size // count + (1 if number < size % count else 0) for number in range(count)]
        groups = [sorted(order[sum(sizes[:number]) : sum(sizes[: number + 1])]) for number in range(count)]
        cases.append({"seed": seed, "members": members, "group_size": group_size, "groups": groups})
    return cases


ORDERS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 128)


def budget_vectors():
    """By mpmath, which shares no code with decimal, at 200 digits."""
    import mpmath

    mpmath.mp.dps = 200
    costs = []
    for mechanism, sigma, rate, steps in (
        ("gaussian", 1_000_000, 1_000_000, 1),
        ("gaussian", 1_234_567, 1_000_000, 30),
        ("sampled_gaussian", 1_000_000, 1_000_000, 7),
        ("sampled_gaussian", 1_000_000, 500_000, 10),
        ("sampled_gaussian", 700_000, 1_000, 1_000),
        ("sampled_gaussian", 50_000_000, 1, 1_000_000),
        ("sampled_gaussian", 100_000, 999_999, 1),
    ):
        q, s = mpmath.mpf(rate) / S, mpmath.mpf(sigma) / S
        rdp = []
        for a in ORDERS:
            if rate == S:
                rdp.append(-(-a * steps * 10**18 // (2 * sigma * sigma)))
                continue
            total = mpmath.fsum(math.comb(a, k) * (1 - q) ** (a - k) * q**k * mpmath.exp((k * k - k) / (2 * s * s)) for k in range(a + 1))
            rdp.append(int(mpmath.ceil(steps * mpmath.log(total) / (a - 1) * S)))
        costs.append({"mechanism": mechanism, "noise_multiplier_micro": sigma, "sampling_rate_ppm": rate, "steps": steps, "rdp_micro": rdp})
    caps = []
    for epsilon, delta_inverse in ((8_000_000, 100_000), (1_000_000, 1_000), (100_000, 10**9), (2_000_000, 2)):
        shares = [int(mpmath.ceil(mpmath.log(delta_inverse) / (a - 1) * S)) for a in ORDERS]
        caps.append({"epsilon_micro": epsilon, "delta_inverse": delta_inverse, "caps_micro": [max(0, epsilon - share) for share in shares]})
    bad = [
        {"mechanism": "laplace", "noise_multiplier_micro": S, "sampling_rate_ppm": S, "steps": 1},
        {"mechanism": "gaussian", "noise_multiplier_micro": 0, "sampling_rate_ppm": S, "steps": 1},
        {"mechanism": "gaussian", "noise_multiplier_micro": -S, "sampling_rate_ppm": S, "steps": 1},
        {"mechanism": "gaussian", "noise_multiplier_micro": S, "sampling_rate_ppm": 500_000, "steps": 1},
        {"mechanism": "sampled_gaussian", "noise_multiplier_micro": S, "sampling_rate_ppm": 0, "steps": 1},
        {"mechanism": "sampled_gaussian", "noise_multiplier_micro": S, "sampling_rate_ppm": S + 1, "steps": 1},
        {"mechanism": "sampled_gaussian", "noise_multiplier_micro": S, "sampling_rate_ppm": 1, "steps": 0},
    ]
    return {"orders": ORDERS, "costs": costs, "caps": caps, "bad": bad}


def commitment_vectors():
    good = {"task_id": "breast-cancer", "round_number": 3, "mspid": "AlphaMSP", "nonce": "11" * 32, "ciphertext_digest": "22" * 32}
    text = f'{{"ciphertext_digest":"{good["ciphertext_digest"]}","mspid":"AlphaMSP","nonce":"{good["nonce"]}",'
    text += '"round":3,"task_id":"breast-cancer"}'
    changes = [
        {"task_id": "breast-cancer-2"},
        {"round_number": 4},
        {"mspid": "BetaMSP"},
        {"nonce": "12" * 32},
        {"ciphertext_digest": "23" * 32},
    ]
    return {"good": good, "digest": hashlib.sha256(text.encode()).hexdigest(), "bad": [{**good, **change} for change in changes]}


def vesting_vectors():
    """A round's pay falls due in twenty equal parts in the twenty rounds after it, what is left over with the first part."""
    rng = random.Random("vesting")
    cases = []
    for rounds in (1, 2, 19, 20, 21, 45):
        pays = [rng.choice([0, 1, 19, 20, rng.randrange(10**9), 10**15]) for _ in range(rounds)]
        due = {}
        for number, pay in enumerate(pays):
            for later in range(1, 21):
                due[number + later] = due.get(number + later, 0) + pay // 20 + (pay % 20 if later == 1 else 0)
        released = [due.get(number, 0) for number in range(rounds)]
        cases.append({"pay_micro": pays, "released_micro": released, "due_micro": [due.get(rounds + later, 0) for later in range(20)]})
    return cases


def forfeit_vectors():
    """Equal parts for the honest, the rest for the treasury; and the lower median of what auditors attested."""
    rng = random.Random("forfeits")
    shares = []
    for honest in (0, 1, 2, 3, 7, 64):
        forfeited = rng.choice([0, 1_000_000, 3_000_000, rng.randrange(10**8)])
        each = math.floor(Fraction(forfeited, honest)) if honest else 0
        shares.append({"forfeited_micro": forfeited, "honest": honest, "share_micro": each, "treasury_micro": forfeited - honest * each})
    attested = [[rng.randrange(500_000, S + 1) for _ in range(count)] for count in range(6)]
    fairness = [{"attested": each, "fairness_ppm": sorted(each)[math.ceil(len(each) / 2) - 1] if each else S} for each in attested]
    return {"shares": shares, "fairness": fairness}


def main():
    rng = random.Random(20260101)
    vectors = {
        "trust": trust_vectors(rng),
        "credit": credit_vectors(rng),
        "incentives": incentive_vectors(rng),
        "election": election_vectors(rng),
        "groups": group_vectors(rng),
        "budget": budget_vectors(),
        "commitments": commitment_vectors(),
        "vesting": vesting_vectors(),
        "forfeits": forfeit_vectors(),
    }
    for name, content in vectors.items():
        (HERE / f"{name}.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
