"""What the machine can run, a check at a time; a check looks and changes nothing."""
