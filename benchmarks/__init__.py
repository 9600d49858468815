"""Benchmarks of the speed of Etude on this machine, compared with common alternatives."""
