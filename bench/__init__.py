"""Measures the system under test: what asks, records, accounts and reports. What comes in is a
room.
"""
