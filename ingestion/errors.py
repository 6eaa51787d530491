"""Errors that a user can do something about."""

from __future__ import annotations


class UserError(Exception):
    """What is wrong, where, and what to do, in words for whoever typed the command."""


class WrongUsage(UserError):
    """The command was called with words that do not fit."""
