"""Numbers to words, tables and pages; nothing is computed here."""
