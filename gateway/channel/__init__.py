"""`consortium channel`: changes of who belongs to a real channel, signed by the organisations' administrators."""
