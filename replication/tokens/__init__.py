"""Encode notes as tokens and decode tokens as notes."""
