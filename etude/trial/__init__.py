"""One trial: its identity and its stages."""
