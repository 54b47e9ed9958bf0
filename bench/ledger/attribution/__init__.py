"""Gives every nanosecond of every request to exactly one stage."""
