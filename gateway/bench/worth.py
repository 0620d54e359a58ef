"""How good a model is that a coalition of simulated hospitals trains by itself, without noise: what exact contributions are made of."""

from collections.abc import Callable

import numpy as np

from gateway.bench.conduct import HONEST, Sender
from gateway.bench.models import QuickUpdates
from gateway.bench.shapley import Coalition, Value
from gateway.bench.simulation import Setup, Simulation
from gateway.hospital.plan import SUM_GRID
from gateway.hospital.summed import GroupSum
from privacy.models import Vector
from privacy.scoring import patient_losses


def coalition_value(setup: Setup, *, rounds: int) -> Value:
    """Minus the mean loss on all honest hospitals' validation patients of the model that a coalition trains in `rounds` rounds.

    Every member sends what its conduct in `setup` says; nobody judges anybody. CPU-heavy: one training a call.
    """
    loss = _loss(setup)

    def value(coalition: Coalition) -> float:
        return -loss(_trained(setup, coalition, rounds))

    return value


def _loss(setup: Setup) -> Callable[[Vector], float]:
    honest = [parts.validation for mspid, parts in sorted(setup.parts.items()) if not setup.bad(mspid)]
    spec = Simulation(setup).updates.plan.spec

    def loss(parameters: Vector) -> float:
        losses = [patient_losses(spec, parameters, each.features, each.labels) for each in honest]
        return float(np.concatenate(losses).mean())

    return loss


def _trained(setup: Setup, coalition: Coalition, rounds: int) -> Vector:
    simulation = Simulation(setup)
    updates, parameters, step = QuickUpdates(simulation.updates.plan, noisy=False), simulation.parameters, simulation.parameters * 0
    members = sorted(coalition)
    for number in range(1, rounds + 1):
        if not members:
            break
        sent = [_sent(setup, updates, mspid, parameters, step, number, simulation) for mspid in members]
        total = np.round(np.sum(sent, axis=0) / SUM_GRID) * SUM_GRID
        following = updates.candidate([GroupSum(members, total)], parameters)
        step = (parameters - following) / (setup.task.training.learning_rate * setup.task.privacy.clip)
        parameters = following
    return parameters


def _sent(setup: Setup, updates: QuickUpdates, mspid: str, parameters: Vector, step: Vector, number: int, simulation: Simulation) -> Vector:
    sender = Sender(updates, setup.parts[mspid].train, parameters, step, number, simulation.noise)
    return np.clip(sender.send(setup.conduct.get(mspid, HONEST)), -updates.bound(), updates.bound())
