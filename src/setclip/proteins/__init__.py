"""Chains of proteins, and the files that hold them."""
