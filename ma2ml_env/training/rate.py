"""The schedule of the learning rate. It imports no torch, so a report can draw it at once."""

import math

from ma2ml_env.recipe import Recipe


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """Learning rate of a step in 0..steps-1: linear warm-up to the recipe's rate, then a cosine towards zero."""
    warm = round(recipe.warmup * steps)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - warm) / (steps - warm)))
