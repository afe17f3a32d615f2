"""No pipeline twice: a proposal whose code is known is drawn again. Not of the paper, which trains repeats."""

from collections.abc import Callable

from torch import Tensor

from ma2ml_agents.joint import Codes

_REDRAWS = 48
_HEAT = 1.15
"""a known code is drawn again at most so often, from policies that get hotter by this factor each time"""


def repeated(codes: Codes, known: Codes) -> list[int]:
    """Positions of the rows of `codes` (n, L) that stand in `known` (N, L) or further up in `codes`."""
    seen = {row.tobytes() for row in known}
    again = []
    for position, row in enumerate(codes):
        key = row.tobytes()
        if key in seen:
            again.append(position)
        seen.add(key)
    return again


def redraw(
    codes: Tensor,
    log_probs: Tensor,
    known: Codes,
    draw: Callable[[list[int], float], tuple[Tensor, Tensor]],
    origins: list[str],
) -> None:
    """Draw again what is known or stands twice, in place.

    Args:
        codes: (n, L).
        log_probs: (n, policies).
        known: codes that were proposed before, (N, L).
        draw: rows to draw again, and a temperature -> their codes and log-probabilities.
        origins: of the n rows; `redraw` where a row was drawn again.
    """
    for attempt in range(1, _REDRAWS + 1):
        again = repeated(codes.numpy(), known)
        if not again:
            break
        codes[again], log_probs[again] = draw(again, _HEAT**attempt)
        for row in again:
            origins[row] = "redraw"
