"""The report: tables, figures and pages, as pure functions of the results."""
