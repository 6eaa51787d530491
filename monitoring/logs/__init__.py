"""The log: one JSON event a line, fit to be shipped; configurations for the usual shippers."""
