"""A search on the surrogate with 5 ms delay, a line for each outcome. usage: driver.py FOLDER LEARNER BUDGET"""

import sys

from parts import Light

from ma2ml_agents.run.loop import Callback, search
from ma2ml_env.games.make import make_game
from ma2ml_env.store.store import TrialStore


class Tell(Callback):
    def on_outcome(self, number, outcome):
        print(number, flush=True)


folder, name, budget = sys.argv[1], sys.argv[2], int(sys.argv[3])
game = make_game("digits-v0", evaluator="surrogate", delay=0.005)
if name == "light":
    learner = Light(game.spec)
else:
    import torch

    from ma2ml_agents.registry import make_learner

    torch.set_num_threads(1)
    learner = make_learner(name, game.spec, seed=0)
with TrialStore(folder) as store:
    store.configure({"game": "digits-v0", "learner": name, "budget": budget})
    search(game, learner, budget=budget, store=store, callbacks=[Tell()])
