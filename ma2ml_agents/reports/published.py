"""What the paper printed: Tables 1 to 4 and Fig. 3 (Wang et al., CVPR 2023). Accuracies are in percent, MACs in millions."""

from typing import NamedTuple


class ImageNetRow(NamedTuple):
    """A row of Table 1."""

    model: str
    accuracy: float
    flops: float | None
    method: str
    modules: str


class CifarRow(NamedTuple):
    """A row of Table 3; parameters in millions, accuracies as printed."""

    model: str
    cifar10: str
    cifar10_params: float | None
    cifar100: str
    cifar100_params: float | None
    method: str


TABLE_1 = (
    ImageNetRow("DARTS", 73.3, 574, "gradient", "NAS"),
    ImageNetRow("NASNet", 74.0, 564, "RL", "NAS"),
    ImageNetRow("MiLeNAS", 75.3, 584, "gradient", "NAS"),
    ImageNetRow("RMI-NAS", 75.3, 657, "random forest", "NAS"),
    ImageNetRow("RegNetY", 75.5, 600, "population parametrisation", "NAS"),
    ImageNetRow("ROME", 75.5, 556, "gradient", "NAS"),
    ImageNetRow("AmoebaNet-C", 75.7, 570, "evolution", "NAS"),
    ImageNetRow("PC-DARTS", 75.8, 597, "gradient", "NAS"),
    ImageNetRow("BaLeNAS", 75.8, 597, "gradient", "NAS"),
    ImageNetRow("ISTA-NAS", 76.0, 638, "gradient", "NAS"),
    ImageNetRow("Shapley-NAS", 76.1, 582, "gradient", "NAS"),
    ImageNetRow("DAAS", 76.6, 698, "gradient", "AUG+NAS"),
    ImageNetRow("DHA", 77.4, None, "gradient", "AUG+NAS+HPO"),
    ImageNetRow("MIGO-NAS", 78.3, 595, "MIGO", "NAS"),
    ImageNetRow("OFA", 79.0, 595, "gradient", "NAS"),
    ImageNetRow("EfficientNet-B1", 79.1, 700, "RL", "NAS"),
    ImageNetRow("FBNetV3", 79.2, 550, "NARS", "NAS+HPO"),
    ImageNetRow("L2NAS", 79.3, 618, "RL", "NAS"),
    ImageNetRow("MA2ML-A", 79.3, 490, "MARL", "AUG+NAS+HPO"),
    ImageNetRow("MA2ML-B", 79.7, 596, "MARL", "AUG+NAS+HPO"),
)

LEVELS = {500e6: "A", 600e6: "B", 700e6: "C", 800e6: "D", 900e6: "E", 1e9: "F"}
"""limit on MACs -> the model's letter (section 4.1)"""

TABLE_2 = {
    "MA2ML-Lite": {"A": (78.6, 498.0), "B": (79.1, 597.0), "C": (79.5, 697.0)},
    "MA2ML": {"A": (79.3, 490.0), "B": (79.7, 596.0), "C": (80.1, 694.0)},
}
"""model -> letter -> (accuracy, MACs)"""

FIGURE_3: dict[str, tuple[float, float | None]] = {
    "A": (79.3, 490.0),
    "B": (79.7, 596.0),
    "C": (80.1, 694.0),
    "D": (80.5, None),
    "E": (80.7, None),
    "F": (81.1, None),
}
"""letter -> (accuracy, MACs); of D, E and F the paper prints no MACs but their limit, which stands in `LEVELS`"""

TABLE_3 = (
    CifarRow("NASNet-A", "97.60", 27.6, "-", None, "RL"),
    CifarRow("ENAS", "97.11", 4.6, "80.57", 4.6, "RL"),
    CifarRow("L2NAS", "97.51+-0.12", 3.8, "82.24+-0.19", 3.5, "RL"),
    CifarRow("AmoebaNet", "97.45+-0.05", 2.8, "81.07", 3.1, "evolution"),
    CifarRow("DARTS", "97.24+-0.09", 3.3, "82.64+-0.44", 3.3, "gradient"),
    CifarRow("DARTS-", "97.41+-0.08", 3.5, "82.49+-0.25", 3.3, "gradient"),
    CifarRow("MiLeNAS", "97.49+-0.11", 3.9, "-", None, "gradient"),
    CifarRow("ISTA-NAS", "97.64+-0.06", 3.4, "83.10+-0.11", None, "gradient"),
    CifarRow("AutoHAS", "95.0", None, "78.4", None, "RL"),
    CifarRow("Joint Search", "97.46+-0.09", None, "83.81+-0.49", None, "gradient"),
    CifarRow("DAAS", "97.76+-0.10", 4.0, "84.63+-0.31", 3.8, "gradient"),
    CifarRow("DHA", "98.11+-0.26", None, "83.93+-0.23", None, "gradient"),
    CifarRow("MA2ML-Lite", "97.70+-0.10", 7.8, "84.80+-0.12", 9.0, "MARL"),
    CifarRow("MA2ML", "97.77+-0.07", 9.0, "85.08+-0.14", 7.7, "MARL"),
)

TABLE_4 = {"baseline": 73.50, "HPO": 74.39, "AUG+HPO": 77.37, "NAS+AUG+HPO": 85.08}
"""modules that are searched -> accuracy on CIFAR-100; all but the last with ResNet-56"""


IMAGENET = ("imagenet200-v0", "imagenet200-600m-v0", "imagenet200-900m-v0")
CIFAR100 = ("cifar100-v0", "cifar100-resnet56-hpo-v0", "cifar100-resnet56-aug-hpo-v0")
CIFAR = ("cifar10-v0", *CIFAR100)
"""games that are the paper's searches of Tables 1 and 2, of Table 4, and of Table 3"""


def level_name(limit: float) -> str:
    """The paper's letter of a limit on MACs, or the limit in millions."""
    return LEVELS.get(limit, f"{limit / 1e6:g}M")
