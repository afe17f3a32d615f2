"""MA2ML in closed form, on an exact critic."""

from ma2ml_agents.ma2ml_exact.learner import MA2MLExact

__all__ = ["MA2MLExact"]
