"""Commands that say whether B is different from A, or a limit is kept."""
