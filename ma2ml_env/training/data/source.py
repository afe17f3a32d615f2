"""Where a data set comes from, how it is read, and how it is split: fixed, and seeded.

Rewards come from validation images, which are always taken out of the training part; test images only ever measure.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ma2ml_env.recipe import LARGEST, content_key
from ma2ml_env.training.data import imagenet
from ma2ml_env.training.data.dataset import Dataset, statistics
from ma2ml_env.training.data.groups import read_groups
from ma2ml_env.training.data.identity import Identity
from ma2ml_env.training.data.kept import LIMIT
from ma2ml_env.training.data.known import STATISTICS, read_cifar, read_digits, read_fashion_mnist
from ma2ml_env.training.data.npz import read_npz
from ma2ml_env.training.data.own import read_images
from ma2ml_env.training.data.pixels import FITS, colour
from ma2ml_env.training.data.raw import PARTS, Part, Raw
from ma2ml_env.training.data.split import Split, image_names, split
from ma2ml_env.training.data.squares import squared
from ma2ml_env.training.data.telling import tell

NAMES = ("digits", "fashion-mnist", "cifar10", "cifar100", "images", "npz", "imagenet")
VALIDATION = {"digits": 500, "fashion-mnist": 5000, "cifar10": 5000, "cifar100": 5000, "imagenet": 10_000}
"""validation images by default; the user's own data give a tenth"""
MOST_IMAGES = 1_000_000_000
OWN_SHARE = 0.1
"""of the user's own images for validation, and for test, where the data come without"""


def check_size(size: int | None) -> None:
    """Refuse a side of images that is no number of pixels; None leaves them as they are.

    Raises:
        ValueError: if it is none.
    """
    if size is not None and not 1 <= size <= LARGEST:
        raise ValueError(f"size is a number of pixels, at least 1 and at most {LARGEST:,}, not {str(size)[:50]}")


@dataclass(frozen=True)
class DataSource:
    """Where a data set comes from and how it is split. Picklable; nothing is read before `load`."""

    name: str
    """one of `NAMES`"""
    folder: str | None = None
    """folder of the data; for npz the file; digits need none"""
    download: bool = False
    """fetch CIFAR or Fashion-MNIST into `folder` if it is not there"""
    size: int | None = None
    """side in pixels; needed by images, None keeps the others as they are"""
    seed: int = 0
    """of the split"""
    validation: int | None = None
    """number of validation images; None is the data set's own. Images with a `val` folder bring theirs, whatever this says"""
    limit: int | None = None
    """train on the first so many images of the split's order only; None is all"""
    validation_limit: int | None = None
    """at most so many validation images, those of a `val` folder included; None is all. With `groups` about so many"""
    fit: Literal["crop", "pad", "squash"] = "crop"
    """how images become squares: the centre is cropped, the background is padded with, or the sides are squashed"""
    background: str = "white"
    """a name or #rrggbb: what transparent pixels show, and what is padded with. White as paper is, on which most pictures with
    a transparent ground are drawn"""
    skip_bad: bool = False
    """of images: leave out files that cannot be read"""
    cache_limit: float = LIMIT
    """of images: most bytes in the cache"""
    classes: int | None = None
    """of imagenet: draw so many classes by the seed, 200 for ImageNet-200; None is all"""
    cache: str | None = None
    """of images and imagenet: folder where decoded images are kept; None is a temporary one of the user, and `ma2ml-cache` in
    `folder` of imagenet"""
    verify: bool = False
    """of images: read every byte again, even of files whose size and times are as they were"""
    groups: str | None = None
    """CSV file with a line `name,group` for each image: what has the same group stays in one part. Of images and npz"""
    digest: str | None = None
    """of the identity that the data must have; None takes them as they are"""

    def load(self) -> Dataset:
        """Read the images and split them. The same source gives the same split in every process.

        Raises:
            FileNotFoundError: if the data are not there; the message says what to do.
            ValueError: if the source or the data are not as described; the message names what is wrong.
        """
        raw, chosen = self.read()
        if self.digest is not None and self.digest != self.identify(raw, chosen).digest:
            raise ValueError(f"{self._place}: the data have changed while they were in use; start the command again")
        if self.name == "imagenet":
            return _imagenet(self, raw, chosen)
        squares = {part: self._square(images) for part, images in raw.x.items()}
        x = {part: squares[chosen.of[part]][torch.from_numpy(rows)] for part, rows in chosen.rows.items()}
        y = {part: torch.from_numpy(labels) for part, labels in chosen.labels(raw).items()}
        mean, std = STATISTICS.get(self.name) or statistics(x["train"])
        return Dataset(
            x["train"],
            y["train"],
            x["validation"],
            y["validation"],
            x["test"],
            y["test"],
            len(raw.class_names),
            raw.class_names,
            mean,
            std,
            pixels=self._pixels(raw.depth, raw.value_range),
        )

    def _pixels(self, depth: str = "byte", value_range: tuple[float, float] = (0.0, 255.0)) -> dict[str, Any]:
        return {
            "fit": self.fit,
            "background": self.background,
            "depth": depth,
            "value_range": list(value_range),
            "files": self.name in ("images", "imagenet"),
        }

    def identity(self) -> Identity:
        """What the data are, by content. Of ImageNet the files' sizes stand for their bytes, of which there are too many.

        Raises:
            FileNotFoundError, ValueError: as `load`.
        """
        return self.identify(*self.read())

    def parts(self) -> list[tuple[Part, str, str]]:
        """(part, class, name) of each image.

        Raises:
            FileNotFoundError, ValueError: as `load`.
        """
        raw, chosen = self.read()
        names, labels = chosen.names(raw), chosen.labels(raw)
        return [
            (part, raw.class_names[label], name)
            for part in PARTS
            for name, label in zip(names[part], labels[part].tolist(), strict=True)
        ]

    def identify(self, raw: Raw, chosen: Split) -> Identity:
        """As `identity`, of what was read."""
        return Identity.of(self.name, raw, chosen, {"size": self.size, "fit": self.fit, "background": self.background})

    def read(self) -> tuple[Raw, Split]:
        """The images as they come, and which of them are in which part. Of ImageNet names and labels alone.

        Raises:
            FileNotFoundError, ValueError: as `load`.
        """
        self._check()
        if self.name == "imagenet":
            return _imagenet_files(self)
        raw = self._read()
        for note in raw.notes:
            tell(f"{self._place}: {note}")
        if len(raw.class_names) < 2:
            raise ValueError(
                f"{self._place}: a classifier needs at least 2 classes, the data have {len(raw.class_names)}"
            )
        if 2 * len(raw.class_names) > len(raw.y["train"]) and self.name in ("images", "npz"):
            tell(
                f"{self._place}: {len(raw.class_names)} classes for {len(raw.y['train'])} training images: many have one "
                "image, from which nothing can be learned. Are these the labels?"
            )
        return raw, self._split(raw)

    def _split(self, raw: Raw) -> Split:
        own = max(len(raw.class_names), round(OWN_SHARE * len(raw.y["train"])))  # one of each class at least
        test = 297 if self.name == "digits" else own
        validation = VALIDATION.get(self.name, own) if self.validation is None else self.validation
        validation = min(validation, self.validation_limit or validation)
        groups = None
        if self.groups is not None:
            groups = read_groups(Path(self.groups), {part: image_names(raw, part) for part in raw.y})["train"]
        try:
            made = split(raw, seed=self.seed, test=test, validation=validation, limit=self.limit, groups=groups)
            return made.fewer("validation", raw, self.validation_limit, self.seed)
        except ValueError as error:
            raise ValueError(f"{self._place}: {error}") from None

    def _check(self) -> None:
        """Refuse what no data of this name can be asked for."""
        if self.name not in NAMES:
            raise ValueError(f"unknown data set {self.name!r}; known are {', '.join(NAMES)}")
        if self.name != "imagenet" and self.classes is not None:
            raise ValueError(f"classes are options of imagenet, not of {self.name}")
        if self.name not in ("imagenet", "images") and self.cache is not None:
            raise ValueError(f"cache is for images in files; {self.name} has none")
        if self.groups is not None and self.name not in ("images", "npz"):
            raise ValueError(f"groups are for your own images, not for {self.name}, whose parts are published")
        if self.name != "images" and self.skip_bad:
            raise ValueError(f"skip_bad is for a folder of your own images; {self.name} is none")
        check_size(self.size)
        if self.validation is not None and self.validation < 1:
            raise ValueError(f"validation is at least 1 image, not {self.validation}")
        for name, number in (
            ("validation", self.validation),
            ("limit", self.limit),
            ("validation_limit", self.validation_limit),
        ):
            if number is not None and number > MOST_IMAGES:
                raise ValueError(f"{name} is a number of images, at most {MOST_IMAGES:,}, not {str(number)[:50]}")
        if not 0.0 <= self.cache_limit <= 1e15:
            raise ValueError(f"cache_limit is a number of bytes, at most 1e15, not {self.cache_limit}")
        if self.limit is not None and self.limit < 2:
            raise ValueError(f"limit is at least 2 training images, not {self.limit}")
        if self.validation_limit is not None and self.validation_limit < 1:
            raise ValueError(f"validation_limit is at least 1 image, not {self.validation_limit}")
        if self.fit not in FITS:
            raise ValueError(f"fit is {', '.join(FITS)}, not {self.fit!r}")
        if self.name == "imagenet" and (self.fit, self.background) != ("crop", "white"):
            raise ValueError("imagenet is cropped, on white; fit and background are for your own images and arrays")
        colour(self.background)

    def _read(self) -> Raw:
        if self.name == "digits":
            return read_digits()
        if self.name == "fashion-mnist":
            return read_fashion_mnist(self._folder, self.download)
        if self.name == "npz":
            return read_npz(self._folder)
        if self.name == "images":
            folder = self._folder
            if self.size is None:
                raise ValueError(f"{folder}: images of any size need --size, the side in pixels to bring them to")
            return read_images(
                folder,
                self.size,
                fit=self.fit,
                background=self.background,
                cache=None if self.cache is None else Path(self.cache),
                limit=self.cache_limit,
                skip_bad=self.skip_bad,
                verify=self.verify,
            )
        return read_cifar(self.name, self._folder, self.download)

    @property
    def _folder(self) -> Path:
        if self.folder is None:
            usual = f"{self.name} needs a folder: give --data DIR, and --download to fetch it into it"
            own = {
                "imagenet": "imagenet needs a folder: give --data DIR with its archives, or with train and val folders",
                "images": "no folder of images given: use --images DIR",
                "npz": "no file of arrays given: use --npz FILE",
            }
            raise FileNotFoundError(own.get(self.name, usual))
        return Path(self.folder)

    @property
    def _place(self) -> str:
        return self.folder or self.name

    def _square(self, images: NDArray[np.uint8]) -> Tensor:
        """Images (N, C, H, W) as a tensor of squares, resized where a size is asked for."""
        tensor = torch.from_numpy(images)
        if self.size is not None and tensor.shape[2:] != (self.size, self.size):
            ground = colour(self.background)
            tensor = torch.cat([squared(some, self.size, self.fit, ground) for some in torch.split(tensor, 1000)])
        if tensor.shape[2] != tensor.shape[3]:
            raise ValueError(
                f"{self._place}: images are {tensor.shape[2]} x {tensor.shape[3]} pixels; give --size to make them square"
            )
        return tensor


def _imagenet(source: DataSource, raw: Raw, chosen: Split) -> Dataset:
    """Images on disk: validation images are taken out of the training part, test images are those of `val`."""
    folder, size = source._folder, source.size or imagenet.SIZE
    cache = Path(source.cache) if source.cache is not None else folder / "ma2ml-cache"
    labels, names = chosen.labels(raw), chosen.names(raw)
    listed = {
        part: [(str(folder / name), label) for name, label in zip(names[part], labels[part].tolist(), strict=True)]
        for part in PARTS
    }
    kept = {part: imagenet.kept(listed[part], size, folder, cache) for part in ("validation", "train", "test")}
    return Dataset(
        *kept["train"],
        *kept["validation"],
        *kept["test"],
        len(raw.class_names),
        raw.class_names,
        imagenet.MEAN,
        imagenet.STD,
        resident=False,
        pixels=source._pixels(),
    )


def _imagenet_files(source: DataSource) -> tuple[Raw, Split]:
    """Names and labels alone, and how they are split: the images are decoded later, and stay on disk."""
    folder = source._folder
    listed = imagenet.listing(folder, source.classes, source.seed)
    files: dict[Part, list[tuple[str, int]]] = {"train": listed.train, "test": listed.test}
    names = {part: tuple(Path(path).relative_to(folder).as_posix() for path, _ in each) for part, each in files.items()}
    raw = Raw(
        {},
        {part: np.array([label for _, label in each], dtype=np.int64) for part, each in files.items()},
        listed.class_names,
        names,
        content=content_key(
            [names, {part: imagenet.some_sizes([path for path, _ in each]) for part, each in files.items()}]
        ),
    )
    return raw, source._split(raw)
