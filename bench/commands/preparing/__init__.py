"""Commands that start, build or check what a run needs; none of them makes a run."""
