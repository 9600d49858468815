"""One file per section of the report: its tables, its figures, its text."""
