"""What several tests share: warehouses, raw tables, random data, comparisons."""
