"""Readers of the layouts in which sets of pictures and captions are distributed, one a file."""
