"""`budget show`: the ledger's filter counts at least what two other accountants say of the same events."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.contract import budget as renyi
from fabric.ledger_views import BudgetView, FilterView, SpentView
from gateway.privacy_spent import spent

DELTA_INVERSE, EPSILON_MICRO = 10_000, 50_000_000
PRV_ERROR = 0.01
"""What Opacus' accountant adds at most to the ε that it is sure of."""


def view(events: Sequence[SpentView]) -> BudgetView:
    caps = renyi.caps_micro(EPSILON_MICRO, DELTA_INVERSE)
    filters = []
    for partition in ("train", "validation"):
        used: tuple[int, ...] = (0,) * len(caps)
        for each in events:
            if each.partition == partition:
                used = renyi.add(
                    used, renyi.rdp_cost_micro(each.mechanism, each.noise_multiplier_micro, each.sampling_rate_ppm, each.steps)
                )
        filters.append(FilterView(partition, EPSILON_MICRO, DELTA_INVERSE, caps, used, renyi.epsilon_spent_micro(used, DELTA_INVERSE)))
    return BudgetView("H1MSP", "records", EPSILON_MICRO, DELTA_INVERSE, tuple(filters))


def event(task_id: str, noise: float, rate: float, steps: int, partition: str = "train") -> SpentView:
    kind = "gaussian" if rate == 1 else "sampled_gaussian"
    return SpentView(task_id, partition, kind, round(noise * 1e6), round(rate * 1e6), steps)


any_event = st.builds(event, st.sampled_from(["a", "b"]), st.floats(0.8, 20), st.sampled_from([1.0, 0.5, 0.1, 0.01]), st.integers(1, 200))


@given(events=st.lists(any_event, min_size=1, max_size=3))
@settings(deadline=None, max_examples=15)
def test_the_filter_is_never_looser_than_either_accountant(events: list[SpentView]) -> None:
    train, validation = spent(view(events), events)
    assert train.opinions.ledger >= train.opinions.pld
    assert train.opinions.ledger >= train.opinions.prv - PRV_ERROR
    assert (validation.opinions.ledger, validation.opinions.pld, validation.opinions.prv, validation.by_task) == (0.0, 0.0, 0.0, {})


def test_tasks_are_told_apart_and_cost_no_more_together_than_added_up() -> None:
    events = [event("first", 4.0, 0.3, 24), event("second", 6.0, 1.0, 10), event("second", 9.0, 1.0, 5, "validation")]
    train, validation = spent(view(events), events)
    assert list(train.by_task) == ["first", "second"] and list(validation.by_task) == ["second"]
    assert max(train.by_task.values()) < train.opinions.ledger < sum(train.by_task.values())
    assert train.left == EPSILON_MICRO / 1e6 - train.opinions.ledger
