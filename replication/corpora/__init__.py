"""The corpora, their download and verification, and the safe reading of their files."""
