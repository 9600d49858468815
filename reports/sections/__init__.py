"""The sections of the report: their tables, figures and text."""
