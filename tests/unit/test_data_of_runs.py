"""A run knows its data: other data are refused by every command, in one line that says what changed."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ma2ml_agents.after.retrain import retrain
from ma2ml_agents.cli.main import main
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.data import KEY, KnownData, run_name, same_data
from ma2ml_env.store.store import TrialStore
from ma2ml_env.training.data.identity import Identity
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.trial import Outcome, Proposal, Trial

TINY = ["--workers", "1", "--size", "8", "--learner", "random"] + [
    word
    for setting in ("filters=4", "proxy_epochs=1", "final_epochs=1", "batch_size=32")
    for word in ("--set", setting)
]


def write(root: Path, classes: tuple[str, ...] = ("ant", "bee"), seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for k, name in enumerate(classes):
        for i in range(16):
            path = root / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.normal(60, 20, (8, 8, 3))
            pixels[..., k % 3] += 100
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return root


def search(data: Path, run: Path, *more: str) -> list[str]:
    return [
        "search",
        "own-small-v0",
        "--images",
        str(data),
        "--run",
        str(run),
        "--budget",
        "2",
        "--batch",
        "1",
        *TINY,
        *more,
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a run of them, retrained and exported."""
    root = tmp_path_factory.mktemp("finished")
    data, run = write(root / "data"), root / "run"
    assert main(search(data, run)) == 0
    assert main(["retrain", str(run), "--top-k", "1", "--repeats", "1"]) == 0
    assert main(["export", str(run)]) == 0
    return root


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, whose run knows where its data are now."""
    shutil.copytree(finished, tmp_path / "copy")
    root = tmp_path / "copy"
    with TrialStore(root / "run") as store:
        told = {**store.config, "images": str(root / "data")}
        store.configure(told, safe=["images"])
    return root


def refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error
    assert "--accept-changed-data" in error


def test_the_identity_stands_everywhere(finished: Path) -> None:
    with TrialStore(finished / "run") as store:
        stored = store.config[KEY]
    assert stored["verified"]
    assert stored["identity"]["class_names"] == ["ant", "bee"]
    assert stored["identity"]["counts"]["train"] == [13, 13]
    assert stored["identity"]["pixels"]["size"] == 8
    digest = stored["identity"]["digest"]
    assert json.loads((finished / "run/retrain/data.json").read_text())[KEY] == stored
    lines = (finished / "run/retrain/results.jsonl").read_text().splitlines()
    assert {json.loads(line)["data"] for line in lines} == {digest}
    card = json.loads((finished / "run/export/card.json").read_text())
    assert card[KEY]["identity"]["digest"] == digest
    assert digest[:8] in (finished / "run/export/card.md").read_text()
    rows = (finished / "run/split.csv").read_text().splitlines()
    assert rows[0] == "part,class,name"
    assert len(rows) == 33
    assert "ant/0.png" in "".join(rows)


def test_other_data_are_refused_by_every_command(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = place / "data", place / "run"
    (data / "ant").rename(data / "zebra")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and not path.name.startswith("run.")}
    for command in (
        search(data, run, "--budget", "4"),
        ["resume", str(run), "--budget", "4"],
        ["retrain", str(run), "--top-k", "2", "--repeats", "1"],
        ["fidelity", str(run), "--pipelines", "3"],
        ["export", str(run)],
    ):
        refused(command, "classes +zebra -ant", capsys)
    assert {path: path.read_bytes() for path in before} == before


def _pixel(data: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(data / "bee" / "3.png")


def _recompressed(data: Path) -> None:
    with Image.open(data / "bee" / "3.png") as image:
        image.load()
    image.save(data / "bee" / "3.png", compress_level=0)


def _swapped(data: Path) -> None:
    one, other, between = data / "ant" / "0.png", data / "bee" / "0.png", data / "between"
    one.rename(between), other.rename(one), between.rename(other)


TEN = {
    "a class renamed": lambda data: (data / "ant").rename(data / "zebra"),
    "a class added": lambda data: shutil.copytree(data / "ant", data / "cat"),
    "a class removed and another added": lambda data: (
        shutil.rmtree(data / "ant"),
        shutil.copytree(data / "bee", data / "fly"),
    ),
    "an image removed": lambda data: (data / "bee" / "3.png").unlink(),
    "an image added": lambda data: shutil.copy(data / "bee" / "3.png", data / "bee" / "more.png"),
    "an image renamed": lambda data: (data / "bee" / "3.png").rename(data / "bee" / "three.png"),
    "an image in another class": lambda data: (data / "bee" / "3.png").rename(data / "ant" / "three.png"),
    "two images swapped": _swapped,
    "other pixels": _pixel,
    "other bytes, the same pixels": _recompressed,
}


@pytest.mark.slow
@pytest.mark.parametrize("change", TEN)
def test_ten_changes_between_each_pair_of_commands(
    place: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = place / "data", place / "run"
    TEN[change](data)
    for command in (
        search(data, run, "--budget", "4"),
        ["resume", str(run), "--budget", "4"],
        ["retrain", str(run), "--top-k", "2", "--repeats", "1"],
        ["fidelity", str(run), "--pipelines", "3"],
        ["export", str(run)],
    ):
        refused(command, "the data are not those of this run", capsys)


@pytest.mark.slow
def test_who_means_it_may_and_the_card_tells(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = place / "data", place / "run"
    (data / "ant").rename(data / "zebra")
    results = (run / "retrain" / "results.jsonl").read_text()
    assert main(["retrain", str(run), "--top-k", "1", "--repeats", "1", "--accept-changed-data"]) == 0
    assert len((run / "retrain" / "results.jsonl").read_text()) > 1.9 * len(results)  # nothing of before was taken
    refused(["retrain", str(run)], "classes +zebra -ant", capsys)  # the search's data are what they were
    assert main(["export", str(run)]) == 0  # these are the data that it was retrained on
    card = json.loads((run / "export" / "card.json").read_text())
    assert card["class_names"] == ["bee", "zebra"]
    assert card[KEY]["changed"] == ["after 2 trials: classes +zebra -ant"]
    assert "CHANGED after 2 trials: classes +zebra -ant" in (run / "export" / "card.md").read_text()
    (data / "zebra" / "0.png").unlink()
    refused(["export", str(run)], "train 26 -> 25", capsys)
    assert main(["resume", str(run), "--budget", "3", "--accept-changed-data"]) == 0
    with TrialStore(run) as store:
        assert store.config[KEY]["changed"] == ["after 2 trials: classes +zebra -ant; train 26 -> 25"]
        assert len(list(store.trials())) == 3
    assert main(["resume", str(run), "--budget", "4"]) == 0  # from here on these are its data


def test_a_retraining_on_other_data_that_was_interrupted_is_not_exported(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The summary is of the former data, and the facts of the data are of the new ones."""
    (place / "data" / "ant").rename(place / "data" / "zebra")

    def stop(job: object, outcome: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain(place / "run", top_k=1, repeats=1, accept_changed_data=True, on_outcome=stop)
    for more in ([], ["--accept-changed-data"]):
        assert main(["export", str(place / "run"), *more]) == 2
        assert "has not been retrained to the end" in capsys.readouterr().err


def test_what_an_earlier_version_trained_is_not_of_changed_data() -> None:
    """It kept no digest, so it is taken for a result of the data as they were first seen, and of no others."""
    assert KnownData(verified=False).holds_earlier
    assert not KnownData(verified=False, changed=("after 2 trials: train 26 -> 25",)).holds_earlier
    assert not KnownData().holds_earlier


def test_data_that_are_back_are_taken_again(place: Path) -> None:
    data, run = place / "data", place / "run"
    (data / "ant").rename(data / "zebra")
    (data / "zebra").rename(data / "ant")
    results = (run / "retrain" / "results.jsonl").read_text()
    assert main(["retrain", str(run), "--top-k", "1", "--repeats", "1"]) == 0
    assert (run / "retrain" / "results.jsonl").read_text() == results  # nothing was trained again


def test_the_place_may_move(place: Path) -> None:
    shutil.move(place / "data", place / "moved")
    assert main(["export", str(place / "run")]) == 0  # without the data, and the card says so
    card = place / "run" / "export" / "card"
    assert not json.loads(card.with_suffix(".json").read_text())[KEY]["seen_at_export"]
    assert "The data were not there" in card.with_suffix(".md").read_text()
    assert main(["export", str(place / "run"), "--data", str(place / "moved")]) == 0
    assert json.loads(card.with_suffix(".json").read_text())[KEY]["seen_at_export"]
    assert main(["resume", str(place / "run"), "--budget", "3", "--data", str(place / "moved")]) == 0


def test_a_run_of_before_is_told_as_unverified(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = place / "data", place / "run"
    with TrialStore(run) as store:
        old = {name: value for name, value in store.config.items() if name != KEY}
        store.configure(old, safe=[KEY])
    assert main(["resume", str(run), "--budget", "3"]) == 0
    assert "unverified" in capsys.readouterr().out
    (data / "bee" / "0.png").unlink()
    refused(["resume", str(run), "--budget", "4"], "train 26 -> 25", capsys)


def test_data_that_change_during_a_search_are_found_by_whoever_reads_them(tmp_path: Path) -> None:
    from dataclasses import replace

    from ma2ml_env.training.data.source import DataSource

    source = DataSource("images", str(write(tmp_path / "data")), size=8)
    source = replace(source, digest=source.identity().digest)
    source.load()
    (tmp_path / "data" / "bee" / "0.png").unlink()
    with pytest.raises(ValueError, match="changed while they were in use"):
        source.load()


def test_a_run_does_not_lie_among_the_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be a class itself for whoever comes next."""
    data = write(tmp_path / "data")
    monkeypatch.chdir(data)
    arguments = [each for each in search(Path("."), Path("x")) if each not in ("--run", "x")]
    assert main(arguments) == 2
    assert "whose folders are classes" in capsys.readouterr().err
    assert {path.name for path in data.iterdir()} == {"ant", "bee"}
    shutil.copytree(data, tmp_path / "parts" / "train")
    monkeypatch.chdir(tmp_path / "parts")
    assert main(arguments) == 0  # beside train it is none


def test_two_data_sets_have_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = write(tmp_path / "a"), write(tmp_path / "b", ("car", "dog"), seed=1)
    for data in (one, other, one):
        arguments = [each for each in search(data, Path("x")) if each not in ("--run", "x")]
        assert main(arguments) == 0
    assert len(list((tmp_path / "runs").glob("own-*"))) == 2  # and the cache of both beside them


@pytest.mark.parametrize(
    ("changes", "digest", "name"),
    [
        ({}, "0123456789abcdef", "own-small-v0-hybrid-0-01234567"),
        ({"learner": "ma2ml_lite", "seed": 12}, "f" * 32, "own-small-v0-ma2ml-lite-12-ffffffff"),
        ({"evaluator": "surrogate"}, None, "own-small-v0-hybrid-0-surrogate"),
        ({"learner": "My.Learner " * 20}, "a" * 32, None),
    ],
)
def test_names_of_folders(changes: dict[str, object], digest: str | None, name: str | None) -> None:
    told = {
        "game": "own-small-v0",
        "learner": "hybrid",
        "budget": 1,
        "batch": 1,
        "seed": 0,
        "evaluator": "train",
        "set": {},
    }
    made = run_name(RunConfig(**{**told, **changes}), None if digest is None else Identity(digest=digest))  # type: ignore[arg-type]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", made)
    assert len(made) <= 80
    assert name in (None, made)


@pytest.mark.parametrize("accept", [False, True])
def test_a_run_of_before_whose_game_takes_fewer_images_today_is_refused(tmp_path, accept):
    source = DataSource("npz", str(tmp_path / "x.npz"), limit=4000, validation_limit=2000)
    for n, words in ((30_000, "4,000 for train and 2,000 for validation"), (6000, "4,000 for train"), (900, "")):
        np.savez(tmp_path / "x.npz", x_train=np.zeros((n, 2, 2), np.uint8), y_train=np.arange(n) % 2)
        for more in ({}, {"limit": None, "validation_limit": None}):
            with TrialStore(tmp_path / f"run-{n}-{len(more)}") as store:
                store.configure({"game": "own-small-v0", "set": more})
                assert same_data(store, source.identity(), accept).verified  # nothing was trained yet
                store.propose(0, 0, [Proposal({})], [0])
                store.close_batch(0, [Trial(0, 0, Proposal({}), Outcome(), 0.5)], {})
                if words and not more and not accept:
                    with pytest.raises(ValueError, match=f"took all images; this one takes {words}. Nothing was done"):
                        same_data(store, source.identity(), accept)
                else:
                    known = same_data(store, source.identity(), accept)
                    assert not known.verified
                    assert known.holds_earlier == (
                        not words or bool(more)
                    )  # what was trained on all is no result of these
