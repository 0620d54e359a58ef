"""`consortium network`: a real Hyperledger Fabric network of plain processes on this machine, for trials and tests."""
