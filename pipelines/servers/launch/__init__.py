"""How the process of a server is launched: what ends what it leaves behind, and what mends Triton's
tracing. Nothing of what it serves.
"""
