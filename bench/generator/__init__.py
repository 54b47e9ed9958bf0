"""The load of a run: asks, records and watches; nothing here reads what was recorded."""
