"""Of a run what its summary leaves out: the whole distribution, its course, single requests."""
