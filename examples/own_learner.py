"""One's own learner in the benchmark beside `random` and `ma2ml`: PBIL, a probability of each choice that follows the best."""

import sys
from dataclasses import make_dataclass
from pathlib import Path

import torch

from ma2ml_agents.joint import Joint
from ma2ml_env import register


class PBIL:
    Config = make_dataclass("Config", [("rate", float, 0.2)], frozen=True)  # how far the best quarter of a batch pulls

    def __init__(self, spec, config=None, *, seed=0, device="cpu"):
        self.config, self.joint, self.generator = config, Joint(spec), torch.Generator().manual_seed(seed)
        self.p = [torch.full((n,), 1.0 / n) for n in self.joint.nvec]

    def ask(self, n, states=None):
        codes = torch.stack([p.multinomial(n, True, generator=self.generator) for p in self.p], dim=1)
        return self.joint.proposals(codes, self.joint.states(n, states, self.generator), None, ["policy"] * n)

    def tell(self, trials):
        codes, _, rewards = self.joint.read(trials, self.generator)
        best = torch.from_numpy(codes[torch.tensor(rewards).argsort()[-len(rewards) // 4 :].numpy()])
        for p, column in zip(self.p, best.T, strict=True):
            p.lerp_(torch.bincount(column, minlength=len(p)) / len(column), self.config.rate)
        return {}  # a learner that shall be resumed also has state_dict and load_state_dict: docs/adding_parts.md


register("learners", "pbil", "own_learner:PBIL")  # a package has an entry point instead, and calls `ma2ml bench`
if __name__ == "__main__":
    suite, out = Path(__file__).with_suffix(".toml"), Path(sys.argv[1] if sys.argv[1:] else "runs/own_learner")
    sys.path.insert(0, str(suite.parents[1] / "benchmarks"))
    from report import main as report
    from run import main as play

    where = [str(suite), "--out", str(out)]
    sys.exit(play(where) or report([*where, "--results", str(out), "--no-pictures"]))
