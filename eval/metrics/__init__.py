"""Metrics of one set of windows."""
