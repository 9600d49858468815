"""Errors, atomic files, checksums, locks, process pools, seeded random generators and the exit of a program."""
