"""An exported model as `model.onnx`: from uint8 images of the data's size to logits, for whoever has no torch.

What `preprocess` of the folder's `model.py` does to such images is part of the program: normalisation, and where the recipe has
a resolution of its own, the resize. The program is compared with the exported model before anybody sees it.
"""

import importlib.util
from pathlib import Path
from typing import Any

TOLERANCE = 1e-4
"""of a logit, or of the largest one where that is above 1: what other orders of sums may come to"""
BATCHES = (1, 2, 5)
"""sizes of batches that are compared: the program takes any"""
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


def check_installed() -> None:
    """Make sure that an ONNX model can be written and run here.

    Raises:
        ImportError: if not; the extra is named.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"--onnx needs {', '.join(missing)}: pip install 'ma2ml[onnx]'")


def write_onnx(model: Any, folder: Path) -> dict[str, Any]:
    """Write `model.onnx` beside an exported model.

    Args:
        model: the folder's `model.py` as a module.
        folder: of the export, whose other files are there.

    Returns:
        What the card says of it: `opset`, `input`, `output`, `largest_difference` of a logit from the exported model's, seen on
        the example images and on noise, in batches of several sizes.

    Raises:
        ImportError: if a package is missing; the extra is named.
        ValueError: if the network cannot be written as ONNX, or the program gives other logits.
    """
    check_installed()
    import numpy as np
    import onnxruntime
    import torch

    network, path = model.load(folder), folder / "model.onnx"
    images = model.example(folder)
    draws = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (sum(BATCHES), *images.shape[1:]), generator=draws, dtype=torch.uint8)
    opset = _export(_whole(model, network, folder, images), images, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    largest = 0.0
    for batch in (images, *torch.split(noise, list(BATCHES))):
        with torch.inference_mode():
            wanted = network(model.preprocess(batch, folder)).numpy()
        (found,) = session.run(["logits"], {"images": batch.numpy()})
        allowed = TOLERANCE * max(1.0, float(np.abs(wanted).max()))
        difference = float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("inf")
        if not difference <= allowed:
            raise ValueError(
                f"model.onnx gives other logits than the exported model (by up to {difference:.2g}): nothing is exported. "
                "Export without --onnx"
            )
        largest = max(largest, difference)
    _, channels, side, _ = images.shape
    return {
        "opset": opset,
        "input": f"images: uint8 (B, {channels}, {side}, {side}) in 0..255",
        "output": "logits: float32 (B, classes)",
        "largest_difference": largest,
    }


def _whole(model: Any, network: Any, folder: Path, images: Any) -> Any:
    """The network behind what `preprocess` does to square images of the data's size."""
    import torch
    from torch import Tensor, nn

    size = images.shape[-1]
    with torch.inference_mode():
        side = model.preprocess(images, folder).shape[-1]
    grey = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, *images.shape[1:])
    with torch.inference_mode():
        ends = model.preprocess(grey, folder)[:, :, 0, 0]  # (v - mean) / std at 0 and at 255, each channel
    slope, start = ((ends[1] - ends[0]) / 255).view(1, -1, 1, 1).clone(), ends[0].view(1, -1, 1, 1).clone()
    rows = torch.eye(size).view(1, 1, size, size)
    resize = nn.functional.interpolate(rows, (side, size), mode="bilinear", antialias=True)[0, 0]

    class Whole(nn.Module):
        """uint8 images -> logits. A resize is linear, by rows and by columns: two products that every runtime has."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Any:
            x = images.float() * slope + start
            if side != size:
                x = resize @ x @ resize.T
            return self.network(x)

    return Whole().eval()


def _export(whole: Any, images: Any, path: Path) -> int:
    """Write the file; its opset.

    Raises:
        ValueError: if torch cannot.
    """
    import logging
    import warnings

    import torch

    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)  # they tell of every pass that did nothing
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                whole, (images,), dynamo=True, input_names=["images"], output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
            )  # fmt: skip
            assert program is not None
            program.save(str(path), external_data=False)
    except Exception as error:  # torch has dozens of kinds, without a common base
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"torch cannot write this network as ONNX: {first}") from error
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
    return int(program.model.opset_imports[""])
