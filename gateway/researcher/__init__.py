"""What a researcher does: submit a task, follow it, get its model, and read how good and how private it is."""
