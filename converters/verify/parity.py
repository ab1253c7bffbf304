"""Parity: the float TFLite must compute what the source computes, or everything after it is void."""

from wherry.converters.errors import ParityLost
from wherry.converters.report import Parity
from wherry.converters.verify import compare

MIN_SNR_DB = 60.0
"""Two float32 kernels of the same network differ by rounding: above 90 dB for the deepest one tried."""

MIN_TOP1_SHARE = 0.99
"""One sample in a hundred may be a tie that rounding decides."""


def require(source: compare.Outputs, converted: compare.Outputs) -> Parity:
    """Compare outputs on the same real inputs. Raises ParityLost."""
    scores = compare.is_scores(source.shape[1:])
    parity = Parity(
        samples=len(source),
        snr_db=round(compare.snr_db(source, converted), 1),
        top1_share=compare.top1_share(source, converted) if scores else None,
    )
    if not parity.snr_db >= MIN_SNR_DB or (parity.top1_share is not None and parity.top1_share < MIN_TOP1_SHARE):
        raise ParityLost(
            f"the float TFLite differs from the source on {parity.samples} real inputs: {parity.snr_db} dB"
            f" (at least {MIN_SNR_DB:.0f} wanted)"
            + ("" if parity.top1_share is None else f", {parity.top1_share:.1%} same top-1"),
            "look for layers whose inference is random or depends on the batch",
        )
    return parity
