"""Numbers to words, tables and pages; no number is computed here."""
