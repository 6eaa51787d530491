"""The command line `adx`: thin, it only calls the rooms of the house."""
