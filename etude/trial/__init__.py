"""Run one trial: its identity and its stages."""
