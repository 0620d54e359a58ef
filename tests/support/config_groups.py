"""Channel configuration groups for hypothesis: small trees in which values, policies and groups come, go and change."""

from fabric_protos.common import configtx_pb2, policies_pb2
from hypothesis import strategies as st

_NAMES = ("Application", "Orderer", "MSP", "Admins")
_MODIFIERS = st.sampled_from(["Admins", "/Channel/Admins", ""])
_VERSIONS = st.integers(0, 3)


def _values() -> st.SearchStrategy[configtx_pb2.ConfigValue]:
    return st.builds(configtx_pb2.ConfigValue, version=_VERSIONS, value=st.sampled_from([b"", b"a", b"b"]), mod_policy=_MODIFIERS)


def _policies() -> st.SearchStrategy[configtx_pb2.ConfigPolicy]:
    policy = st.builds(policies_pb2.Policy, type=st.just(policies_pb2.Policy.SIGNATURE), value=st.sampled_from([b"a", b"b"]))
    return st.builds(configtx_pb2.ConfigPolicy, version=_VERSIONS, policy=policy, mod_policy=_MODIFIERS)


def config_groups(depth: int = 2) -> st.SearchStrategy[configtx_pb2.ConfigGroup]:
    """Groups nested up to `depth` deep; two of them share many names and contents."""
    names = st.sampled_from(_NAMES)
    groups = st.dictionaries(names, config_groups(depth - 1), max_size=2) if depth else st.just({})
    return st.builds(
        configtx_pb2.ConfigGroup,
        version=_VERSIONS,
        mod_policy=_MODIFIERS,
        values=st.dictionaries(names, _values(), max_size=2),
        policies=st.dictionaries(names, _policies(), max_size=2),
        groups=groups,
    )


def without_versions(group: configtx_pb2.ConfigGroup) -> configtx_pb2.ConfigGroup:
    """A copy in which every version is 0."""
    copy = configtx_pb2.ConfigGroup()
    copy.CopyFrom(group)
    copy.version = 0
    for entry in (*copy.values.values(), *copy.policies.values()):
        entry.version = 0
    for name, child in list(copy.groups.items()):
        copy.groups[name].CopyFrom(without_versions(child))
    return copy
