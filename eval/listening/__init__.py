"""Samples to look at and listen to: piano rolls as images and as a page that plays."""
