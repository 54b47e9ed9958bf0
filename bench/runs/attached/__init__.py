"""A run on a server that somebody else made and runs: nothing of it is ours, and it is left as it
was found.
"""
