"""Image sets, made of pinned photographs by seed, and what a folder of the user's holds; whatever
changes a picture raises the builder's version.
"""
