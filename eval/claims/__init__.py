"""Declared claims and their verdicts."""
