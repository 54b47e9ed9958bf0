"""A report as blocks, and what writes them: text, Markdown, a page, single pictures."""
