"""Makes runs: starts what they need, in which order, and keeps both away from their load; no
number is judged here.
"""
