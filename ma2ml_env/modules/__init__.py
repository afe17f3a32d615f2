"""Modules: one search space each."""
