"""What the kernels share: how numba compiles them, and eight bytes at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import int64, njit, void
from numba.extending import intrinsic

Integer = Any  # an int64, which is no int to mypy

# No recursion: numba cannot load it from its cache.
_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    return cast(_Function, njit(nogil=True, cache=True, error_model="numpy")(function))


def inlined(function: _Function) -> _Function:
    made = njit(nogil=True, cache=True, error_model="numpy", forceinline=True)(function)
    return cast(_Function, made)


def built_in(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose code is built by hand; its first parameter is numba's."""
    return cast(Callable[..., Any], intrinsic(function))


@built_in
def word_at(_context: Any, address: Any) -> Any:
    """The eight bytes at an address."""

    def load(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = context.get_value_type(int64)
        return builder.load(builder.inttoptr(arguments[0], word.as_pointer()), align=1)

    return int64(int64), load


@built_in
def set_word(_context: Any, address: Any, word: Any) -> Any:
    """Eight bytes to an address."""

    def store(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer = context.get_value_type(int64).as_pointer()
        builder.store(arguments[1], builder.inttoptr(arguments[0], pointer), align=1)
        return context.get_dummy_value()

    return void(int64, int64), store


_ONES = np.int64(0x0101010101010101)
_HIGHS = np.int64(-0x7F7F7F7F7F7F7F80)
_BLANKS = np.int64(0x2020202020202020)
_QUOTES = np.int64(0x2222222222222222)
_BACKSLASHES = np.int64(0x5C5C5C5C5C5C5C5C)


@inlined
def is_special(word: Integer) -> bool:
    """Whether a quote, a backslash or a control character is among eight bytes of a JSON string."""
    quote, escape = word ^ _QUOTES, word ^ _BACKSLASHES
    special = (quote - _ONES) & ~quote
    special |= (escape - _ONES) & ~escape
    special |= (word - _BLANKS) & ~word
    return bool(special & _HIGHS)
