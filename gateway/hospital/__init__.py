"""A hospital's gateway: its service, its policy, and a round as the hospital lives it."""
