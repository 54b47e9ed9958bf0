"""Files of a run to numbers: every nanosecond of every request, and what they sum up to; no
sentence, no table.
"""
