"""Corpora as windows of tokens: near-duplicates, splits, cutting, the prepared files, the data card."""
