"""A grid of runs: the study that asks for it, its cells, and what its runs come to."""
