"""The role a gateway plays when the ledger elects it: hub of the exchange, and the one that adds the encrypted updates."""
