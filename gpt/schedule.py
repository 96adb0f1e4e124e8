"""What changes while training: learning rate by step, weight decay by epoch. Pure functions, standard library only."""

import math

DECAYS = ("cosine", "linear", "wsd")
WSD_DECAY_SHARE = 0.2  # of all steps, at the end: warm-up, stable, decay (arXiv:2404.06395 takes 10-20 %)


def learning_rate(step: int, *, steps: int, peak: float, floor: float, warmup: int, decay: str) -> float:
    """The rate of step 1..steps: up in a line over `warmup` steps, then down to `floor` at the last one.

    cosine: half a cosine; linear: a line; wsd: stays at the peak, falls as 1 - sqrt over the last fifth.
    """
    if step <= warmup:
        return peak * step / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (peak - floor) * _remaining(done, decay)


def _remaining(done: float, decay: str) -> float:
    """What is left of the way from peak to floor, 1 to 0."""
    if decay == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if decay == "linear":
        return 1 - done
    falling = (done - (1 - WSD_DECAY_SHARE)) / WSD_DECAY_SHARE
    return 1 - math.sqrt(max(0.0, falling))


def weight_decay(epoch: float, phases: tuple[tuple[float, float], ...]) -> float:
    """The value of the last phase that has begun. phases: (from_epoch, value), ascending; epoch counts from 0."""
    return [value for start, value in phases if start <= epoch][-1]
