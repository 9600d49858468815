"""Distances between two sets of windows, and the noise floor."""
