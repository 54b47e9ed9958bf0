"""Makes experiments of two sides that take turns, each a load of its own checkout; who wins is for
`compare`.
"""
