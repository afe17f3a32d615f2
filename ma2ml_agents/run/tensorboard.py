"""The callback that draws TensorBoard's curves, and tells it the settings of the search."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ma2ml_agents.run.loop import Callback
from ma2ml_agents.run.standing import Key, Standing, mean_reward
from ma2ml_agents.run.tracking import grouped
from ma2ml_env.io.files import inode
from ma2ml_env.trial import Trial


class TensorBoard(Callback):
    """Curves over the number of trials: as in the paper's Figs. 4 and 5, and what the learner measures.

    `reward/batch`, `reward/top_<k>`, `reward/best`, `accuracy/batch`, `failed`, `seconds`; `entropy/<agent>`, `kl/<agent>`,
    `credit/<agent>`, `learner/critic_loss` and what else `tell` returns; names without a group stand under `learner/`. The tab
    HParams holds the settings of the search, with `reward/best` and the mean of the top k, so runs can be told apart by them.

    Args:
        folder: of the event files.
        top_k: of the running mean.
        key: what makes two trials the same pipeline.
        settings: of the search, by name, for HParams; {} fills no such tab.
    """

    def __init__(self, folder: Path, top_k: int, key: Key, settings: Mapping[str, Any] = {}) -> None:
        self.folder = folder
        self._settings = settings
        self._end: Any = None  # what closes the session in HParams
        self._standing = Standing(top_k, key)
        self._writer: Any = None
        self._inode: tuple[int, int] | None = None

    def on_start(self, budget: int, trials: Sequence[Trial]) -> None:
        """Open a file that replaces what an interrupted session may have written beyond these trials."""
        from torch.utils.tensorboard import SummaryWriter

        self._standing.add(trials)
        self._writer = SummaryWriter(str(self.folder), purge_step=len(trials) + 1)
        if self._settings:
            self._tell_settings()
        self._writer.flush()  # a thread of its own writes, by the file's name: nothing is to be left that it writes later
        self._inode = inode(self.folder)

    def on_batch(self, batch: int, trials: Sequence[Trial], metrics: Mapping[str, float]) -> None:
        """Write one point of every curve.

        Raises:
            OSError: if the folder was moved or replaced; the writer would go on by its name.
        """
        if inode(self.folder) != self._inode:
            raise OSError(f"{self.folder} is not the folder that this search has opened; nothing was written to it")
        self._standing.add(trials)
        best = self._standing.best
        values = {
            "reward/batch": mean_reward(trials),
            f"reward/top_{self._standing.top_k}": self._standing.top_mean,
            "reward/best": best.reward if best else 0.0,
            "accuracy/batch": sum(trial.outcome.accuracy for trial in trials) / len(trials),
            "failed": float(self._standing.counts["failed"]),
            "seconds": metrics.get("seconds", 0.0),
            **grouped(metrics),
        }
        for name, value in values.items():
            self._writer.add_scalar(name, value, len(self._standing.trials))
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            if self._end is not None and inode(self.folder) == self._inode:
                self._writer.file_writer.add_summary(self._end)
            self._writer.close()
            self._writer = None

    def _tell_settings(self) -> None:
        """Fill HParams. `add_hparams` would make a folder of its own, in which the curves are not."""
        from torch.utils.tensorboard import summary

        plain = {
            name: value if isinstance(value, (bool, int, float, str)) else str(value)
            for name, value in self._settings.items()
        }
        named = dict.fromkeys(("reward/best", f"reward/top_{self._standing.top_k}"), 0.0)
        experiment, start, self._end = summary.hparams(plain, named)  # type: ignore[no-untyped-call]
        for told in (experiment, start):
            self._writer.file_writer.add_summary(told)
