"""Corpora: which there are, where they come from, and reading their files safely."""
