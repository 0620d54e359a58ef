"""Rounds' Merkle roots recomputed from the commitments that were made and the candidates that were accepted."""

from collections.abc import Mapping
from typing import Any

from fabric.contract import normalisation
from fabric.contract.keys import key
from fabric.contract.merkle import root
from fabric.contract.round_roots import leaves
from fabric.worldstate import WorldState
from gateway.auditor.calls import FIRST_RULES, ContractCall
from gateway.auditor.records import differences, records

_Place = tuple[str, int]


class RootBook:
    """Follows commitments and settlements."""

    def __init__(self) -> None:
        self._models: dict[str, str] = {}
        self._commitments: dict[_Place, dict[str, str]] = {}
        self._roots: dict[_Place, dict[str, str]] = {}

    def observe(self, call: ContractCall) -> None:
        """Take note of one valid call."""
        argument, payload = call.argument, call.payload
        if call.function == "submit_task":
            self._models[argument["task_id"]] = argument["digest"]
        elif call.function == "commit":
            self._commitments.setdefault((argument["task_id"], argument["round"]), {})[call.mspid] = argument["digest"]
        if call.event == "phase" and payload["phase"] == "reveal" and call.rules != FIRST_RULES:
            place = (payload["task_id"], payload["round"])
            model, commitments = self._models[place[0]], self._commitments.pop(place)
            self._roots[place] = {"model_digest": model, "root": root(leaves(model, commitments)).hex()}
        elif call.event == "settled" and payload["accepted"] and payload["round"] != normalisation.ROUND:
            self._models[payload["task_id"]] = payload["candidate"]["digest"]

    @property
    def saved(self) -> dict[str, Any]:
        """What the book remembers, as JSON values, for `restore`."""
        return {
            "models": self._models,
            "commitments": [[*place, made] for place, made in self._commitments.items()],
            "roots": [[*place, record] for place, record in self._roots.items()],
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Remember again what was `saved`."""
        self._models = saved["models"]
        self._commitments = {(task_id, number): made for task_id, number, made in saved["commitments"]}
        self._roots = {(task_id, number): record for task_id, number, record in saved["roots"]}

    def differences(self, state: WorldState, contract: str) -> list[str]:
        """What is wrong with the roots in the state; empty if nothing is."""
        expected = {key("round_root", *place): record for place, record in self._roots.items()}
        return differences("round_root", expected, records(state, contract, "round_root"))
