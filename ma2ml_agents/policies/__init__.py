"""Policies of agents, and what they share about intervals."""
