"""The auditor: verifies the ledger trusting nobody, recomputes what the contract decided, and tells a task's story."""
