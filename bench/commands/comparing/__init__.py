"""Commands that say whether B is different from A, or a limit is kept; the decisions themselves
are in `compare`.
"""
