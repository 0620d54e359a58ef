"""Who may call what: one table, default deny. A caller holds `anyone`, `admin` by its certificate, and its registered role."""

ANYONE, ADMIN, GATEWAY, RESEARCHER, AUDITOR = "anyone", "admin", "gateway", "researcher", "auditor"
ROLES = (ANYONE, ADMIN, GATEWAY, RESEARCHER, AUDITOR)

_ADMINS = frozenset({ADMIN})
_GATEWAYS = frozenset({GATEWAY})
_HOSPITALS = frozenset({GATEWAY, ADMIN})
_RESEARCHERS = frozenset({RESEARCHER})
_MEMBERS = frozenset({ADMIN, GATEWAY, RESEARCHER, AUDITOR})

TABLE: dict[str, frozenset[str]] = {
    "version": frozenset({ANYONE}),
    # registry
    "heartbeat": _GATEWAYS,
    "register_organisation": _ADMINS,
    "register_identity": _ADMINS,
    "revoke_identity": _ADMINS,
    "register_dataset": _HOSPITALS,
    "declare_leave": _GATEWAYS,
    # tasks
    "submit_task": _RESEARCHERS,
    "approve_task": _HOSPITALS,
    "reject_task": _HOSPITALS,
    "advance": frozenset({GATEWAY, RESEARCHER, ADMIN}),
    "abort_task": frozenset({RESEARCHER, ADMIN}),
    "rejoin": _GATEWAYS,
    # market
    "debit_listing": _HOSPITALS,
    "publish_listing": _HOSPITALS,
    "close_listing": _HOSPITALS,
    "settle_order": frozenset({GATEWAY, RESEARCHER, ADMIN}),
    # keys
    "commit_key_share": _GATEWAYS,
    "confirm_key": _GATEWAYS,
    "accuse_dealer": _GATEWAYS,
    # rounds
    "debit": _GATEWAYS,
    "debit_release": _HOSPITALS,
    "record_withdrawals": _GATEWAYS,
    "commit": _GATEWAYS,
    "reveal": _GATEWAYS,
    "post_sums": _GATEWAYS,
    "post_share": _GATEWAYS,
    "object_sums": _GATEWAYS,
    "object_shares": _GATEWAYS,
    "post_candidate": _GATEWAYS,
    "commit_scores": _GATEWAYS,
    "reveal_scores": _GATEWAYS,
    "delegate_stake": _ADMINS,
    "attest_fairness": frozenset({AUDITOR}),
    # disputes
    "open_dispute": _GATEWAYS,
    "take_seat": _GATEWAYS,
    "share_disputed": _GATEWAYS,
    "commit_finding": _GATEWAYS,
    "reveal_finding": _GATEWAYS,
    "advance_dispute": _HOSPITALS,
    # views
    "organisations": _MEMBERS,
    "organisation": _MEMBERS,
    "identities": _MEMBERS,
    "budget": _MEMBERS,
    "datasets": _MEMBERS,
    "spends": _MEMBERS,
    "listings": _MEMBERS,
    "orders": _MEMBERS,
    "tasks": _MEMBERS,
    "task": _MEMBERS,
    "round": _MEMBERS,
    "settlement": _MEMBERS,
    "disputes": _MEMBERS,
    "trust": _MEMBERS,
}
