"""Variants of the paper: its letter, its ablations and what it argues against, one file each."""
