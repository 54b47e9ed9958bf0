"""A chain whose stages are processes, with a message broker before each; which broker it is stays
unknown here.
"""
