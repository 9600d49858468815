"""Scores, distances, comparison, tracking and the suite that runs the experiments."""
