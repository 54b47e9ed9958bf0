"""Beside the load: what is sampled, fetched and measured of a run while it goes on."""
