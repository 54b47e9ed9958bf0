"""Image sets, made from pinned photographs."""
