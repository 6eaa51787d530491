"""The commands of `adx` that have a module of their own; `advertisex.cli` adds them to it."""
