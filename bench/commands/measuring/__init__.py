"""Commands that make runs and report on them; what another group needs too is no command, and goes
below.
"""
