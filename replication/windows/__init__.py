"""Prepare the pieces of a corpus as windows of tokens: near-duplicates, splits, cutting, files, the data card."""
