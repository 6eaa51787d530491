"""What the kernels share: how numba compiles them, eight bytes at a time, values into columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import boolean, int32, int64, njit, types, uint8, void
from numba.extending import intrinsic

Integer = Any  # an int64, which is no int to mypy
READ_BYTES = types.Array(uint8, 1, "C", readonly=True)
_SLACK = 8  # bytes behind a value that may be read, and written before the next one is

# No recursion: numba cannot load it from its cache.
_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    return cast(_Function, njit(nogil=True, cache=True, error_model="numpy")(function))


def typed(*signature: Any) -> Callable[[_Function], _Function]:
    """Compiled when defined, for arguments of these numba types; the first is the result's."""
    result, *arguments = signature
    made = njit(result(*arguments), nogil=True, cache=True, error_model="numpy")
    return cast(Callable[[_Function], _Function], made)


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


@built_in
def first_byte(_context: Any, mask: Any) -> Any:
    """Which of eight bytes is the first with a bit in a mask that has any."""

    def count(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        zeros = builder.cttz(arguments[0], context.get_constant(boolean, True))
        return builder.lshr(zeros, context.get_constant(int64, 3))

    return int64(int64), count


_ONES = np.int64(0x0101010101010101)
_HIGHS = np.int64(-0x7F7F7F7F7F7F7F80)
_BLANKS = np.int64(0x2020202020202020)
_QUOTES = np.int64(0x2222222222222222)
_BACKSLASHES = np.int64(0x5C5C5C5C5C5C5C5C)


@inlined
def specials(word: Integer) -> Integer:
    """A mask whose first bit stands in the first of eight bytes that is a quote, a backslash or a
    control character; 0: none."""
    quote, escape = word ^ _QUOTES, word ^ _BACKSLASHES
    special = (quote - _ONES) & ~quote
    special |= (escape - _ONES) & ~escape
    special |= (word - _BLANKS) & ~word
    return special & _HIGHS


@inlined
def matches(word: Integer, byte: Integer) -> Integer:
    """A mask whose first bit stands in the first of eight bytes that is the given one; 0: none."""
    different = word ^ (np.int64(byte) * _ONES)
    return (different - _ONES) & ~different & _HIGHS


def gathered(
    chunks: Sequence[npt.NDArray[np.uint8]],
    rows: Sequence[int],
    begins: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int32],
    there: npt.NDArray[np.bool_],
) -> list[pa.Array]:
    """Text arrays of values that lie in some bytes, an array a row of `begins`.

    `begins` (int64) says where each value begins in its chunk, `offsets` (int32, one more, from 0)
    where in its array, and `there` where there is one at all. `rows` are where each chunk's values
    begin, and the end.
    """
    sizes = offsets[:, -1].astype(np.int64)
    bases = np.cumsum([0, *(sizes + _SLACK)])
    text = np.empty(int(bases[-1]), np.uint8)
    for data, first, last in zip(chunks, rows[:-1], rows[1:], strict=True):
        _copy(data, first, last, begins, offsets, bases, text)
    arrays = []
    for index, valid in enumerate(there):
        nulls = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
        values = pa.py_buffer(text[bases[index] :][: sizes[index]])
        buffers = [nulls, pa.py_buffer(offsets[index]), values]
        arrays.append(pa.Array.from_buffers(pa.string(), len(valid), buffers))
    return arrays


@typed(void, READ_BYTES, int64, int64, int64[:, ::1], int32[:, ::1], int64[::1], uint8[::1])
def _copy(
    data: Any, first: Integer, last: Integer, begins: Any, offsets: Any, bases: Any, text: Any
) -> None:
    source, target = np.int64(data.ctypes.data), np.int64(text.ctypes.data)
    # A row of all at a time, whose bytes are in the processor's cache then.
    for row in range(first, last):
        for name in range(len(begins)):
            begin, to = begins[name, row], bases[name] + offsets[name, row]
            size = np.int64(offsets[name, row + 1] - offsets[name, row])
            if begin + size + _SLACK <= len(data):
                for done in range(0, size, 8):
                    set_word(target + to + done, word_at(source + begin + done))
            else:
                for at in range(size):
                    text[to + at] = data[begin + at]
