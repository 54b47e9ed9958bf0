"""Load and analysis: what asks, records, accounts and reports."""
