"""The contract as an external chaincode service: real peers connect to it and have their transactions run."""
