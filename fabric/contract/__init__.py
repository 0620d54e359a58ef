"""The consortium's contract: deterministic rules over a key-value state, the same on the embedded ledger and on real peers."""
