"""`consortium chaincode serve`: the contract as a process of its own, for an organisation's real peers."""
