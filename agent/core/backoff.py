"""Waiting longer after each failure, with full jitter, so that a fleet does not come back as one."""


def delay_s(failures: int, chance: float, *, base_s: float, limit_s: float) -> float:
    """A wait in [0, min(limit, base * 2^(failures - 1))], picked by `chance` in [0, 1).

    `failures` counts those in a row, from 1. Full jitter spreads clients evenly over the interval,
    which keeps the load on a broker that comes back lowest (AWS Architecture Blog, "Exponential
    Backoff And Jitter").
    """
    exponent = min(max(failures - 1, 0), 30)
    return chance * min(limit_s, base_s * 2.0**exponent)
