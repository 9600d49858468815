"""Intervals, tests, power and multiplicity."""
