"""Whether a run can be trusted: `judge` says every reason for doubt, with its cure. Each reason is
found from what was recorded, by a method that its module names.
"""
