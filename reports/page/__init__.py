"""The report as HTML, Markdown and terminal output, and the check of a stored report."""
