"""Tables and figures, as pure functions of the results."""
