"""Errors, atomic files, checksums, locks, named random generators and what every program needs."""
