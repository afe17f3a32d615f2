"""Reading photographs against plain Pillow in a loop: `python benchmarks/reading.py`; `--out FILE` keeps the JSON.

JPEGs of 3 megapixels (2048 x 1536, quality 90; parts of scikit-learn's two photographs, enlarged), in blocks that are folders
of two classes. In each block the arms take turns, by wall-clock time, the files in the system's cache for all of them:

- plain: `Image.open`, `convert("RGB")`, `ImageOps.fit`, file after file, as the reader did before it was written for speed;
- first: `read_images` with nothing kept, on all cores: hashes, decodes, keeps;
- next: `read_images` again, as the next command and every worker do.

Reported for each size: images a second of the arms, and the medians over blocks of plain's time over the other two, with the
smallest and the largest. `difference` is of the pixels, as JPEGs of four times the size and more are decoded at a part of it.
"""

import argparse
import io
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageOps
from provenance import tell
from sklearn.datasets import load_sample_images

from ma2ml_env.training.data.own import read_images

WIDTH, HEIGHT, QUALITY = 2048, 1536, 90


def photographs(folder: Path, files: int, rng: np.random.Generator) -> None:
    """Write so many JPEGs, each another part of a photograph."""
    sources = [Image.fromarray(image) for image in load_sample_images().images]
    for number in range(files):
        left, top = rng.integers(0, 128), rng.integers(0, 107)
        part = (
            sources[number % 2]
            .crop((left, top, left + 512, top + 320))
            .resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        )
        path = folder / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = io.BytesIO()
        part.save(data, "JPEG", quality=QUALITY)
        path.write_bytes(data.getvalue())


def plain(folder: Path, size: int) -> np.ndarray:
    images = []
    for path in sorted(folder.rglob("*.jpg")):
        with Image.open(path) as opened:
            image = ImageOps.fit(opened.convert("RGB"), (size, size), method=Image.Resampling.BILINEAR)
        images.append(np.asarray(image))
    return np.stack(images).transpose(0, 3, 1, 2)


def timed(arm: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    made = arm()
    return time.perf_counter() - began, made


def block(folder: Path, size: int) -> dict[str, float]:
    """Seconds of the arms, and the mean and largest difference of pixels."""
    cache = folder.parent / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    seconds, values = {}, {}
    arms = {"plain": lambda: plain(folder, size)}
    arms["first"] = arms["next"] = lambda: read_images(folder, size, cache=cache).x["train"]
    for name, arm in arms.items():
        seconds[name], values[name] = timed(arm)
    assert np.array_equal(values["first"], values["next"])
    gap = np.abs(values["plain"].astype(int) - values["first"])
    return {**seconds, "mean": float(gap.mean()), "most": float(gap.max())}


def row(blocks: list[dict[str, float]], files: int) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for arm in ("plain", "first", "next"):
        told[f"{arm}_images_per_second"] = round(files / statistics.median(each[arm] for each in blocks), 1)
    for arm in ("first", "next"):
        ratios = [each["plain"] / each[arm] for each in blocks]
        told[f"{arm}_times_plain"] = round(statistics.median(ratios), 1)
        told[f"{arm}_times_plain_min_max"] = [round(min(ratios), 1), round(max(ratios), 1)]
    told["difference_mean"] = round(statistics.mean(each["mean"] for each in blocks), 3)
    told["difference_most"] = max(each["most"] for each in blocks)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000, help="of a block")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224])
    parser.add_argument("--out", type=Path)
    told = parser.parse_args()
    rng, results = np.random.default_rng(0), {size: [] for size in told.sizes}
    for _ in range(told.blocks):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "data"
            photographs(folder, told.files, rng)
            time.sleep(2.1)  # files of now would be looked at again, as a second change might bear the same time
            for size in told.sizes:
                results[size].append(block(folder, size))
    words = f"--files {told.files} --blocks {told.blocks} --sizes {' '.join(map(str, told.sizes))}"
    facts = {"command": f"python benchmarks/reading.py {words}", "pillow": PIL.__version__}
    tell({**facts, **{f"size_{size}": row(blocks, told.files) for size, blocks in results.items()}}, told.out)


if __name__ == "__main__":
    main()
