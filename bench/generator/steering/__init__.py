"""What Locust is told and taught: what is checked first, who has which part, how long it runs,
and how it ends.
"""
