"""The load of a run: asks, records and watches; what reads records does not come in."""
