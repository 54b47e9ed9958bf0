"""Image sets, made of pinned photographs by seed; whatever changes a picture raises the builder's
version.
"""
