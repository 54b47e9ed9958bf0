"""Whether B is different from A, and whether a limit is kept: numbers from stored runs; no
sentence, no process.
"""
