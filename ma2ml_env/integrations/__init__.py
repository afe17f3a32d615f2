"""The game in the shapes of other frameworks: one file for each, imported by its users alone, with an extra of its own.

What runs on a view as it is (Stable-Baselines3, PettingZoo's and Gymnasium's own tools) has no file here.
"""
