"""The files of `results/`, in which load and analysis meet, and the scenario."""
