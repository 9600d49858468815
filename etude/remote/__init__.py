"""Trials on a borrowed machine: export, train, import."""
