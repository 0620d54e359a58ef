"""The embedded ledger: one process that speaks Fabric's Gateway and Deliver services over real blocks. For development and trials."""
