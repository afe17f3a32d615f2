"""Evaluators: jobs in, outcomes out. They know no agents and no rewards."""
