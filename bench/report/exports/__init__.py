"""Runs as other tools' files."""
