"""From an encoded image to the tensor that a DNN takes, in several ways that agree, and that refuse
the same images; no server, no task.
"""
