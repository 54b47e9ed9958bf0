"""What the machine can run, a check at a time."""
