"""A run as a study of Optuna, for optuna-dashboard. Optuna is the extra `optuna`."""

import contextlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ma2ml_agents.reports.page.choices import labels_of
from ma2ml_agents.reports.page.facts import Facts, gather
from ma2ml_env.space import Interval
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Trial

SQLITE, JOURNAL = (".db", ".sqlite", ".sqlite3"), (".log", ".journal")


def write_study(run: Path, out: Path) -> str:
    """Write the study under the name of the run's folder; what optuna-dashboard is to be told.

    A parameter is `agent.decision`. The value is the reward, which is maximised; the rest of an outcome stands among a trial's
    attributes. A trial without a reward of its own is a failed one.

    Raises:
        ImportError: if Optuna is not installed.
        ValueError: if the name ends in neither of a study's, or the run is damaged.
        FileExistsError: if there is such a file.
        OSError: if it cannot be written.
    """
    if out.suffix not in (*SQLITE, *JOURNAL):
        raise ValueError(f"--out {out}: a study's name ends in {', '.join((*SQLITE, *JOURNAL))}")
    if out.exists():
        raise FileExistsError(f"{out} exists: name a new file, or delete it")
    try:
        import optuna
    except ImportError:
        raise ImportError("`ma2ml study` needs Optuna: pip install 'ma2ml[optuna]'") from None
    with TrialStore(run, create=False) as store:
        facts = gather(store)
    half = out.with_name(f".{out.name}.part")
    half.unlink(missing_ok=True)
    if not out.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.parent}")
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = _storage(half)
        study = optuna.create_study(storage=storage, study_name=run.resolve().name, direction="maximize")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(["reward"])  # what the dashboard calls the axis
        for name, told in facts.config.to_json().items():
            study.set_user_attr(name, told)
        distributions = _distributions(facts)
        study.add_trials([_trial(facts, trial, distributions) for trial in facts.trials])
        with contextlib.suppress(AttributeError):
            storage.engine.dispose()  # SQLite's connections hold the file
        half.replace(out)
    finally:
        optuna.logging.set_verbosity(before)
        half.unlink(missing_ok=True)
    return str(out) if out.suffix in JOURNAL else f"sqlite:///{out}"


def _storage(path: Path) -> Any:
    from optuna import storages

    if path.with_suffix("").suffix in JOURNAL:
        from optuna.storages.journal import JournalFileBackend

        return storages.JournalStorage(JournalFileBackend(str(path)))
    return storages.RDBStorage(f"sqlite:///{path}")


def _distributions(facts: Facts) -> dict[str, Any]:
    """`agent.decision` -> what may be chosen; choices are texts, for Optuna takes no others of which all can be shown."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    found: dict[str, Any] = {}
    for agent, module in facts.game.modules.items():
        for decision in module.space.decisions:
            found[f"{agent}.{decision.name}"] = CategoricalDistribution(labels_of(facts, agent, decision.name))
        for interval in module.space.intervals:
            found[f"{agent}.{interval.name}"] = FloatDistribution(interval.low, interval.high, log=interval.log)
    return found


def _trial(facts: Facts, trial: Trial, distributions: Mapping[str, Any]) -> Any:
    from optuna.trial import TrialState, create_trial

    parameters: dict[str, Any] = {}
    for agent, module in facts.game.modules.items():
        for part, entry in zip(module.space.parts, trial.proposal.codes[agent], strict=True):
            name = f"{agent}.{part.name}"
            parameters[name] = (
                part.value(entry) if isinstance(part, Interval) else distributions[name].choices[int(entry)]
            )
    outcome, ok = trial.outcome, trial.outcome.status == "ok"
    attributes = {
        "trial": trial.number, "seed": trial.seed, "origin": trial.proposal.origin, "status": outcome.status,
        "error": outcome.error, "note": outcome.note, "accuracy": outcome.accuracy, "macs": outcome.flops,
        "params": outcome.params, "seconds": outcome.seconds, "open": trial.number in facts.open, **outcome.metrics,
    }  # fmt: skip
    return create_trial(
        state=TrialState.COMPLETE if ok else TrialState.FAIL,
        value=trial.reward if ok else None,
        params=parameters,
        distributions=dict(distributions),
        user_attrs=attributes,
    )
