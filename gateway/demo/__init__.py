"""`consortium demo`: the whole way once, as processes on this machine, through the verbs that a real deployment uses."""
