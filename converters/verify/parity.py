"""Parity: the float TFLite must compute what the source computes, or everything after it is void."""

from collections.abc import Sequence

from wherry.converters.errors import ParityLost
from wherry.converters.report import Parity
from wherry.converters.verify import compare

MIN_SNR_DB = 60.0
"""Two float32 kernels of the same network differ by rounding: above 90 dB for the deepest one tried."""

MIN_TOP1_SHARE = 0.99
"""One sample in a hundred may be a tie that rounding decides."""


def measure(
    names: Sequence[str], source: Sequence[compare.Outputs], converted: Sequence[compare.Outputs]
) -> tuple[Parity, ...]:
    """Compare outputs on the same real inputs, as many as both have."""
    count = min(len(source[0]), len(converted[0]))
    return tuple(_of(name, a[:count], b[:count]) for name, a, b in zip(names, source, converted, strict=True))


def require(found: tuple[Parity, ...], fix: str = "look for layers whose inference is random") -> None:
    """Raises ParityLost, with `fix`, where one output is not what the source gives."""
    for parity in found:
        lost_top = parity.top1_share is not None and parity.top1_share < MIN_TOP1_SHARE
        if parity.snr_db >= MIN_SNR_DB and not lost_top:
            continue
        raise ParityLost(
            f"the float TFLite differs from the source on {parity.samples} real inputs, output {parity.output!r}:"
            f" {parity.snr_db} dB (at least {MIN_SNR_DB:.0f} wanted)"
            + ("" if parity.top1_share is None else f", {parity.top1_share:.1%} same top-1"),
            fix,
        )


def _of(name: str, source: compare.Outputs, converted: compare.Outputs) -> Parity:
    scores = compare.is_scores(source.shape[1:])
    return Parity(
        output=name,
        samples=len(source),
        snr_db=round(compare.snr_db(source, converted), 1),
        top1_share=compare.top1_share(source, converted) if scores else None,
    )
