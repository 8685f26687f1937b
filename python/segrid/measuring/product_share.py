"""How much of what this machine can multiply a computation uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from segrid._native import _core

# {precision: multiply-adds}
Products = Mapping[str, float]


def product_rates(products: Iterable[Products], seconds: float = 0.1) -> dict[str, float]:
    """GFLOP/s of all threads together, for each precision that occurs in `products`.

    A multiply-add counts as two. Each rate is measured for about `seconds`, in products whose
    factors lie in the caches. `int8-torch` has no rate of its own and is left out.
    """
    found = {precision for counts in products for precision in counts}
    return {p: _core.product_rate(p, seconds) for p in ("fp32", "bf16", "int8") if p in found}


def share_of_rate(
    products: Iterable[Products], seconds: float, rates: Mapping[str, float]
) -> float | None:
    """The time that the products alone would take at the machine's rates, as a share of `seconds`.

    None if there are no products, or some of a precision without a rate.
    """
    least = 0.0
    for counts in products:
        for precision, multiply_adds in counts.items():
            if precision not in rates:
                return None
            least += 2e-9 * multiply_adds / rates[precision]
    return least / seconds if least > 0 and seconds > 0 else None


def percent(share: float | None) -> str:
    """The share as text; empty for None."""
    return "" if share is None else f"{100 * share:.0f} %"


def said(rates: Mapping[str, float]) -> str:
    """The rates as text, such as "fp32 340, int8 2400 GFLOP/s"."""
    return ", ".join(f"{p} {rate:.0f}" for p, rate in rates.items()) + " GFLOP/s"
