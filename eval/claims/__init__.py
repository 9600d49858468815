"""Declared claims, their verdicts, and the agreement of two runs."""
