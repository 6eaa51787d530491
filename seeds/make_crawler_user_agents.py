"""Write ``seeds/crawler_user_agents.csv`` from the package ``crawler-user-agents``.

Each row is a regular expression that a crawler's user agent matches, case as written (semantics
section 5). Run again after an update of the package; the order is the package's own, so that a
difference shows what is new.
"""

from __future__ import annotations

import csv
from pathlib import Path

from crawleruseragents import CRAWLER_USER_AGENTS_DATA

TARGET = Path(__file__).parent / "crawler_user_agents.csv"


def main() -> None:
    """Write the seed, one pattern a row, each quoted because some begin or end with a space."""
    patterns = dict.fromkeys(str(crawler["pattern"]) for crawler in CRAWLER_USER_AGENTS_DATA)
    with TARGET.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["pattern"])
        writer.writerows([pattern] for pattern in patterns)
    print(f"{TARGET.name}: {len(patterns)} patterns")


if __name__ == "__main__":
    main()
