"""What a next version of the contract may be: one migration, one function and one field in a view more than the product's own.

start(config, contract=next_contract.invoke, rules=NEXT.rules)
"""

from dataclasses import dataclass, replace
from typing import Any

from fabric.contract import access, entry, registry
from fabric.contract.arguments import Statement
from fabric.contract.caller import Call
from fabric.contract.release import RELEASE, Record, Release, rules_number


@dataclass(frozen=True)
class DeclareContact:
    contact: Statement


def declare_contact(call: Call, argument: DeclareContact) -> dict[str, Any]:
    owner = registry.organisation(call.state, call.mspid)
    call.state.put("organisation", (call.mspid,), {**owner, "contact": argument.contact})
    call.state.announce("contact_declared", {"mspid": call.mspid, "contact": argument.contact})
    return {"contact": argument.contact}


def _without_contact(organisation: Record) -> Record:
    return {**organisation, "contact": ""}


def _without_remarks(round_record: Record) -> Record:
    return {**round_record, "remarks": []}


_MAJOR, _MINOR = rules_number(RELEASE.rules)
NEXT = Release(
    f"{_MAJOR}.{_MINOR + 1}.0",
    RELEASE.schema + 1,
    {
        **RELEASE.migrations,
        ("organisation", RELEASE.schema): _without_contact,
        ("round", RELEASE.schema): _without_remarks,
    },
)
CONTRACT = replace(
    entry.CONTRACT,
    release=NEXT,
    functions={**entry.FUNCTIONS, "declare_contact": (DeclareContact, declare_contact)},
    access={**access.TABLE, "declare_contact": frozenset({access.GATEWAY})},
)
invoke = CONTRACT.invoke
