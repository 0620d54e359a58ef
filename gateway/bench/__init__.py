"""`consortium bench`: measures the product on the machine it runs on, and says which machine that is."""
