"""From image to answer: the steps of a pipeline, and where each of them runs; how bytes travel is
for engines and brokers.
"""
