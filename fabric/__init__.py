"""The ledger side of the consortium gateway: contract, chaincode server, client, embedded ledger, verifier."""
