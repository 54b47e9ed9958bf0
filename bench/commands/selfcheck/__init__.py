"""Commands that measure visiontax itself, and what it stands on."""
