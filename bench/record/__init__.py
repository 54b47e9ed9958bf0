"""The files of `results/`, in which load and analysis meet, and the scenario; what computes does
not come in.
"""
