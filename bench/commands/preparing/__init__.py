"""Commands that start, build or check what a run needs."""
