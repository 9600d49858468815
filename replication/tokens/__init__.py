"""Encodings: notes as tokens and back."""
