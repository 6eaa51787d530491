"""What a contract and the models must say alike."""

from __future__ import annotations

import re

from ingestion.contract import event_streams
from support.warehouses import ROOT


def test_the_text_of_an_event_has_the_fields_of_its_contract() -> None:
    """Section 3: the macro `event_text` lists a contract's fields in its order."""
    macro = (ROOT / "macros" / "identified.sql").read_text()
    for contract in event_streams():
        if contract.reference:
            continue
        listed = re.search(rf"'{contract.stream}': \[(.*?)\]", macro, re.DOTALL)
        assert listed is not None, contract.stream
        names = re.findall(r"'(\w+)'", listed.group(1))
        assert names == [field.name for field in contract.fields if field.type != "json"]
