"""Makes experiments of two sides that take turns, each a run of its own checkout."""
