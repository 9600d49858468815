"""Tables, figures, templates and number formatting."""
