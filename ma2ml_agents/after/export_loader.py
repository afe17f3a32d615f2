"""The second half of an exported `model.py`. `export.py` puts it behind the source of the network, which defines `Network`."""

import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ma2ml_env.training.data.pixels import HALF, Look, colour, square, to_bytes
from ma2ml_env.training.data.squares import squared
from ma2ml_env.training.networks.base import Image
from ma2ml_env.training.networks.nasnet import NASNet as Network

FOLDER = Path(__file__).resolve().parent
_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def load(folder: Path = FOLDER, device: str = "cpu") -> nn.Module:
    """The trained network in evaluation mode: `preprocess`ed images -> logits (B, classes)."""
    card, recipe = _read(folder / "card.json"), _read(folder / "recipe.json")
    image = Image(card["classes"], card["channels"], recipe["resolution"] or card["size"])
    network = Network(**recipe["network"]["args"], image=image)
    network.load_state_dict(read_safetensors(folder / "weights.safetensors"))
    return network.to(device).eval()


def read_files(paths: Sequence[str | Path], folder: Path = FOLDER) -> Tensor:
    """Image files -> uint8 (B, channels, size, size), by the training's own arithmetic.

    Values beyond those of the training are cut off, with a warning.

    Raises:
        ValueError: if one cannot be read, or holds other values than the training's; it is named.
    """
    card = _read(folder / "card.json")
    told = card["pixels"]
    low, high = told["value_range"]
    images = []
    for path in map(Path, paths):
        try:
            if not path.is_file():
                raise ValueError("is no file")
            found = square(path.read_bytes(), Look(card["size"], told["fit"], told["background"]))
            usual = not told["files"] and (low, high) in (
                (0, 1),
                (0, 255),
                (0, 65535),
            )  # of arrays, as 8 bits show them
            if found.depth != told["depth"] and not (found.depth == "byte" and usual):
                kinds = {"byte": "8 bits", "integer": "more bits", "float": "floats"}
                raise ValueError(f"has values of {kinds[found.depth]}, the training had {kinds[told['depth']]}")
        except (ValueError, OSError) as error:
            raise ValueError(f"{path} {error}") from None
        if found.depth != "byte" and (found.low < low or found.high > high):
            beyond = f"{found.low:g} to {found.high:g}, and those of the training {low:g} to {high:g}"
            warnings.warn(f"{path} has values from {beyond}: what lies beyond is cut off", stacklevel=2)
        if found.mode.endswith(";16") and 0 < found.high < HALF:
            warnings.warn(
                f"{path} uses less than half of its 16 bits a colour, so it is read as a dark picture: save it with 8 bits",
                stacklevel=2,
            )
        values = found.values if found.depth == "byte" else to_bytes(found.values, low, high, told["background"])
        values = torch.from_numpy(values.copy())
        if len(values) > card["channels"]:  # colours, where the training had greys: as Pillow mixes them
            weights = torch.tensor([19595, 38470, 7471]).view(3, 1, 1)
            values = ((values * weights).sum(0, keepdim=True) + 0x8000 >> 16).to(torch.uint8)
        images.append(values.expand(card["channels"], -1, -1))
    return torch.stack(images)


def preprocess(images: Tensor, folder: Path = FOLDER) -> Tensor:
    """uint8 images (B, channels, H, W) in 0..255 -> float32 (B, channels, side, side) as the network was trained on.

    They are made squares of the data's size as the card says, each channel is normalised, and the whole is brought to the
    recipe's resolution, if it has one. Where the training had more than 8 bits, so may these: they are scaled as it did.
    """
    card, side = _read(folder / "card.json"), _read(folder / "recipe.json")["resolution"]
    size, told = card["size"], card["pixels"]
    if images.dtype != torch.uint8 and told["depth"] != "byte":
        images = torch.from_numpy(to_bytes(images.cpu().numpy(), *told["value_range"])).to(images.device)
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != card["channels"]:
        raise ValueError(f"images are uint8 (B, {card['channels']}, H, W), not {images.dtype} {tuple(images.shape)}")
    images = squared(images, size, told["fit"], colour(told["background"]))
    mean, std = (255 * torch.tensor(card[name], device=images.device).view(1, -1, 1, 1) for name in ("mean", "std"))
    images = (images.float() - mean) / std
    if not side or side == size:
        return images
    return nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)


def classify(network: nn.Module, images: Tensor, folder: Path = FOLDER) -> list[tuple[str, float]]:
    """(class name, probability) of each of uint8 images (B, channels, H, W)."""
    names = _read(folder / "card.json")["class_names"]
    with torch.inference_mode():
        probabilities, labels = network(preprocess(images, folder)).softmax(1).max(1)
    return [(names[label], p) for label, p in zip(labels.tolist(), probabilities.tolist(), strict=True)]


def example(folder: Path = FOLDER) -> Tensor:
    """Two fixed images (2, channels, size, size) uint8, for which `logits.json` holds the logits."""
    card = _read(folder / "card.json")
    count = 2 * card["channels"] * card["size"] ** 2
    values = (torch.arange(count) * 7919 % 65537 * 31 % 256).to(torch.uint8)
    return values.view(2, card["channels"], card["size"], card["size"])


def check(folder: Path = FOLDER) -> float:
    """Largest difference between the logits of `example` here and those that were written when the model was exported."""
    with torch.inference_mode():
        logits = load(folder)(preprocess(example(folder), folder))
    return float((logits - torch.tensor(_read(folder / "logits.json"))).abs().max())


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file: 8 bytes with the length of a JSON header, the header, then the values. Runs no code."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            first, last = (start + offset for offset in entry["data_offsets"])
            kind = _TYPES[entry["dtype"]]
            values = torch.frombuffer(data[first:last], dtype=kind) if last > first else torch.empty(0, dtype=kind)
            tensors[name] = values.reshape(entry["shape"])
    return tensors


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def main(paths: list[str]) -> None:
    """Classify image files; without any, check that this model gives the logits that it was exported with."""
    if not paths:
        difference = check()
        print(f"largest difference of logits: {difference:.2e}")
        sys.exit(difference > 1e-3)
    network, bad = load(), 0
    for path in paths:
        try:
            images = read_files([path])
        except ValueError as error:
            print(error, file=sys.stderr)
            bad += 1
            continue
        ((name, probability),) = classify(network, images)
        print(f"{path}: {name} ({probability:.3f})")
    if bad:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
