"""Models that users bring: what can be told of them, and their place in the repository."""
