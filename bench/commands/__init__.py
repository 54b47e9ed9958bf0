"""What the user types; only here are options read, exit codes chosen and things printed: what
computes lies below.
"""
