"""One module a subject; each gives findings from what a `View` shows."""
