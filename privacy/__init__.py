"""What keeps patients private: differentially private training, CKKS encryption, threshold decryption, sealing.

Nothing here talks to the network or the ledger. Modules are imported one by one, so that a process pays only for what it uses.
"""
