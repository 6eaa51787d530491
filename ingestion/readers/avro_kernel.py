"""Avro's binary encoding → columns of text, compiled by numba (Avro 1.12, "Binary encoding").

The kernel walks a program (`ingestion.readers.avro_program`) and needs no lock of Python's. It
only takes what it writes exactly as the reference way does; a block with anything else (damage, a
NUL, text that is not UTF-8, a number that wants an exponent, a time before 1973) is refused whole,
and is for the reference way to judge.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float32, float64, int32, int64, uint8

from ingestion.readers.compiled import (
    Integer,
    built_in,
    compiled,
    inlined,
    set_word,
    specials,
    typed,
    word_at,
)

NULL, BOOLEAN, INT, LONG, FLOAT, DOUBLE, TEXT, FIXED, ENUM = range(9)
ARRAY, MAP, RECORD, UNION, DATE, MILLISECONDS, MICROSECONDS, NANOSECONDS, DECIMAL = range(9, 18)

GOOD, REFUSED, FULL = range(3)

# Of the state that all functions share: the next byte to read, the next to write, and how it went.
READ, WRITE, STATUS = range(3)

_DEPTH = 64  # of values in values
_KEYS = 64  # of a map: more are not compared with one another
_POWERS = np.array([10.0**power for power in range(23)])  # all exact
_TENS = np.array([10**power for power in range(19)], np.int64)
_SMALLEST, _LARGEST = 1e-6, 1e15  # what is written without an exponent everywhere
_LARGEST_FLOAT = 1e7
_CLEAR = 1e-9  # nearer than this to a boundary is not told apart
_FIRST_NUMERIC_TIME = 10**14  # microseconds: what is less does not read as microseconds
_LAST_MILLISECONDS = 9 * 10**15

SLACK = 8  # bytes behind data and output that may be touched
_ONES = np.int64(0x0101010101010101)
_HIGHS = np.int64(-0x7F7F7F7F7F7F7F80)
_BLANKS = np.int64(0x2020202020202020)

_BYTES = uint8[::1]
_STATE = int64[::1]


@built_in
def _as_double(_context: Any, bits: Any) -> Any:
    def reinterpret(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(float64))

    return float64(int64), reinterpret


@built_in
def _as_float(_context: Any, bits: Any) -> Any:
    def reinterpret(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        half = builder.trunc(arguments[0], context.get_value_type(int32))
        single = builder.bitcast(half, context.get_value_type(float32))
        return builder.fpext(single, context.get_value_type(float64))

    return float64(int64), reinterpret


@built_in
def _borrowed(_context: Any, array: Any) -> Any:
    """The array without its owner, whose references numba would count at every call."""

    def disown(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = context.make_array(signature.args[0])(context, builder, arguments[0])
        found.meminfo = found.meminfo.type(None)
        return found._getvalue()

    return array(array), disown


@inlined
def _read_long(data: Any, end: Integer, state: Any) -> Integer:
    value = np.int64(0)
    at = state[READ]
    for index in range(10):
        if at >= end:
            break
        byte = np.int64(data[at])
        at += 1
        if index == 9 and byte > 1:
            break
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            state[READ] = at
            return ((value >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(value & 1)
    state[STATUS] = REFUSED
    return 0


@compiled
def _is_utf8(data: Any, at: Integer, end: Integer) -> bool:
    while at < end:
        byte = data[at]
        if byte < 0x80:
            at += 1
            continue
        if 0xC2 <= byte < 0xE0:
            more = 1
        elif 0xE0 <= byte < 0xF0:
            more = 2
        elif 0xF0 <= byte < 0xF5:
            more = 3
        else:
            return False
        if at + more >= end:
            return False
        second = data[at + 1]
        if (byte == 0xE0 and second < 0xA0) or (byte == 0xED and second > 0x9F):
            return False
        if (byte == 0xF0 and second < 0x90) or (byte == 0xF4 and second > 0x8F):
            return False
        for index in range(1, more + 1):
            if data[at + index] & 0xC0 != 0x80:
                return False
        at += more + 1
    return True


@inlined
def _put_text(data: Any, start: Integer, size: Integer, out: Any, state: Any) -> None:
    """The bytes as they are, if they are text. Up to SLACK bytes beyond are read and written."""
    at = state[WRITE]
    source, target = np.int64(data.ctypes.data) + start, np.int64(out.ctypes.data) + at
    seen, zero = np.int64(0), np.int64(0)
    whole = size & ~7
    for index in range(0, whole, 8):
        word = word_at(source + index)
        set_word(target + index, word)
        seen |= word
        zero |= (word - _ONES) & ~word
    if whole < size:
        word = word_at(source + whole)
        set_word(target + whole, word)
        unused = 8 * (8 - (size - whole))
        seen |= word << unused
        word |= np.int64(-1) << (64 - unused)
        zero |= (word - _ONES) & ~word
    if zero & _HIGHS or (seen & _HIGHS and not _is_utf8(data, start, start + size)):
        state[STATUS] = REFUSED
    state[WRITE] = at + size


@inlined
def _put_string(data: Any, start: Integer, size: Integer, out: Any, state: Any) -> None:
    """The bytes as a JSON string, if they are text. SLACK as with `_put_text`."""
    at = state[WRITE]
    out[at] = 34
    at += 1
    source, target = np.int64(data.ctypes.data) + start, np.int64(out.ctypes.data)
    seen = np.int64(0)
    done = np.int64(0)
    while done < size:
        word = word_at(source + done)
        here = min(size - done, 8)
        if here < 8:
            word |= _BLANKS << (8 * here)
            word &= ~(np.int64(-1) << (8 * here)) | (_BLANKS << (8 * here))
        seen |= word
        if not specials(word):
            set_word(target + at, word)
            at += here
        else:
            for index in range(here):
                at = _put_escaped(data[start + done + index], out, at, state)
        done += here
    out[at] = 34
    if seen & _HIGHS and not _is_utf8(data, start, start + size):
        state[STATUS] = REFUSED
    state[WRITE] = at + 1


@compiled
def _put_escaped(byte: Integer, out: Any, at: Integer, state: Any) -> Integer:
    """A byte of a JSON string; where the next one goes."""
    if byte >= 0x20 and byte != 34 and byte != 92:
        out[at] = byte
        return at + 1
    out[at] = 92
    if byte == 34 or byte == 92:
        out[at + 1] = byte
        return at + 2
    short = 0
    if byte == 8:
        short = 98
    elif byte == 9:
        short = 116
    elif byte == 10:
        short = 110
    elif byte == 12:
        short = 102
    elif byte == 13:
        short = 114
    elif byte == 0:
        state[STATUS] = REFUSED
    if short:
        out[at + 1] = short
        return at + 2
    out[at + 1] = 117
    out[at + 2] = 48
    out[at + 3] = 48
    out[at + 4] = 48 + (byte >> 4)
    low = byte & 15
    out[at + 5] = 48 + low if low < 10 else 55 + low
    return at + 6


@inlined
def _put_digits(value: Integer, width: Integer, out: Any, state: Any) -> None:
    """A number that is not negative, with zeros before it up to a width."""
    at = state[WRITE]
    size = 1
    while size < 19 and value >= _TENS[size]:
        size += 1
    size = max(size, width)
    for index in range(size - 1, -1, -1):
        out[at + index] = 48 + value % 10
        value //= 10
    state[WRITE] = at + size


@inlined
def _put_byte(byte: Integer, out: Any, state: Any) -> None:
    out[state[WRITE]] = byte
    state[WRITE] += 1


@inlined
def _put_integer(value: Integer, out: Any, state: Any) -> None:
    if value < 0:
        if value == -0x8000000000000000:
            state[STATUS] = REFUSED
            return
        _put_byte(45, out, state)
        value = -value
    _put_digits(value, 1, out, state)


@inlined
def _put_decimal(digits: Integer, scale: Integer, out: Any, state: Any) -> None:
    """digits / 10^scale, which is not negative, with all places."""
    _put_digits(digits // _TENS[scale], 1, out, state)
    if scale:
        _put_byte(46, out, state)
        _put_digits(digits % _TENS[scale], scale, out, state)


@inlined
def _put_fraction(digits: Integer, places: Integer, out: Any, state: Any) -> None:
    """digits / 10^places as a fraction: at least one place."""
    if places > 18:
        _put_byte(48, out, state)
        _put_byte(46, out, state)
        _put_digits(digits, places, out, state)
    elif places:
        _put_decimal(digits, places, out, state)
    else:
        _put_decimal(digits, 0, out, state)
        _put_byte(46, out, state)
        _put_byte(48, out, state)


@compiled
def _put_double(value: float, out: Any, state: Any) -> None:
    """The shortest decimal that reads as the value, the nearest of those."""
    if math.copysign(1.0, value) < 0:
        _put_byte(45, out, state)
        value = -value
    if value == 0.0:
        _put_fraction(0, 0, out, state)
        return
    if not _SMALLEST <= value < _LARGEST:
        state[STATUS] = REFUSED
        return
    # Up to 15 digits: both numbers are exact, so their quotient is what a reader makes of it.
    for places in range(22):
        scaled = value * _POWERS[places]
        digits = np.rint(scaled)
        if digits > 1e15:
            break
        if abs(scaled - digits) < 1e-15 * scaled and digits / _POWERS[places] == value:
            _put_fraction(np.int64(digits), places, out, state)
            return
    # Else 17 digits, of an exact product (Dekker 1971), or 16 if they are near enough.
    scale = 16 - np.int64(math.floor(math.log10(value)))
    if scale > 22:
        state[STATUS] = REFUSED
        return
    power = _POWERS[scale]
    product = value * power
    split = value * 134217729.0
    value_high = split - (split - value)
    value_low = value - value_high
    split = power * 134217729.0
    power_high = split - (split - power)
    power_low = power - power_high
    rest = value_high * power_high - product
    rest += value_high * power_low
    rest += value_low * power_high
    rest += value_low * power_low
    whole = np.int64(product)
    nearest = np.rint(rest)
    beyond = rest - nearest  # of the exact product beyond the 17 digits
    seventeen = whole + np.int64(nearest)
    last = seventeen % 10
    if (
        not 10**16 <= seventeen < 10**17
        or abs(beyond) > 0.5 - 1e-6
        or (last == 5 and abs(beyond) < 1e-6)
    ):
        state[STATUS] = REFUSED
        return
    sixteen = seventeen // 10
    if last > 5 or (last == 5 and beyond > 0):
        sixteen += 1
    mantissa, exponent = math.frexp(value)
    if mantissa == 0.5:
        state[STATUS] = REFUSED
        return
    half = 0.5 * math.ldexp(1.0, exponent - 53) * power
    off = abs(np.float64(sixteen * 10 - seventeen) - beyond)
    if off < half * (1 - _CLEAR):
        _put_fraction(sixteen, scale - 1, out, state)
    elif off < half * (1 + _CLEAR):
        state[STATUS] = REFUSED
    else:
        _put_fraction(seventeen, scale, out, state)


@compiled
def _put_float(value: float, out: Any, state: Any) -> None:
    """The shortest decimal that reads as the 32-bit value."""
    if math.copysign(1.0, value) < 0:
        _put_byte(45, out, state)
        value = -value
    if value == 0.0:
        _put_fraction(0, 0, out, state)
        return
    if not _SMALLEST <= value < _LARGEST_FLOAT:
        state[STATUS] = REFUSED
        return
    mantissa, exponent = math.frexp(value)
    half = 0.5 * math.ldexp(1.0, exponent - 24)
    for places in range(16):
        digits = np.rint(value * _POWERS[places])
        near = digits / _POWERS[places]
        off = abs(near - value)
        room = half * 0.5 if mantissa == 0.5 and near < value else half
        if off < room * (1 - _CLEAR):
            _put_fraction(np.int64(digits), places, out, state)
            return
        if off < room * (1 + _CLEAR):
            break
    state[STATUS] = REFUSED


@compiled
def _put_date(days: Integer, out: Any, state: Any) -> None:
    """ISO 8601, by the algorithm `civil_from_days` of Howard Hinnant."""
    if not -719162 <= days <= 2932896:  # of the years 1 to 9999
        state[STATUS] = REFUSED
        return
    shifted = days + 719468
    era = shifted // 146097
    day_of_era = shifted - era * 146097
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    year = year_of_era + era * 400
    _put_digits(year + 1 if month <= 2 else year, 4, out, state)
    _put_byte(45, out, state)
    _put_digits(month, 2, out, state)
    _put_byte(45, out, state)
    _put_digits(day_of_year - (153 * shifted_month + 2) // 5 + 1, 2, out, state)


@compiled
def _put_unscaled(
    data: Any, start: Integer, size: Integer, scale: Integer, out: Any, state: Any
) -> None:
    """A decimal: its bytes are a big-endian integer in two's complement."""
    fill = 255 if size and data[start] >= 0x80 else 0
    value = np.int64(-1 if fill else 0)
    for index in range(size):
        byte = data[start + index]
        if index < size - 8:
            if byte != fill:
                state[STATUS] = REFUSED
                return
        elif index == size - 8 and (byte >= 0x80) != (fill == 255):
            state[STATUS] = REFUSED
            return
        value = (value << 8) | np.int64(byte)
    if value < 0:
        if value == -0x8000000000000000:
            state[STATUS] = REFUSED
            return
        _put_byte(45, out, state)
        value = -value
    _put_decimal(value, scale, out, state)


@compiled
def _has_key(data: Any, keys: Any, known: Integer) -> bool:
    """Whether the last of the keys is among those before it."""
    start, size = keys[known, 0], keys[known, 1]
    for other in range(known):
        if keys[other, 1] == size:
            same = True
            for index in range(size):
                if data[keys[other, 0] + index] != data[start + index]:
                    same = False
                    break
            if same:
                return True
    return False


@inlined
def _constant(constants: Any, kids: Any, kid: Integer, out: Any, state: Any) -> None:
    """The text that goes with a kid: a field's key, a symbol."""
    start, size = kids[kid, 1], kids[kid, 2]
    at = state[WRITE]
    for index in range(size):
        out[at + index] = constants[start + index]
    state[WRITE] = at + size


@inlined
def _room(size: Integer, limit: Integer, state: Any) -> bool:
    if state[WRITE] + size > limit:
        state[STATUS] = FULL
        return False
    return True


@inlined
def _little_endian(data: Any, at: Integer, size: Integer) -> Integer:
    bits = np.int64(0)
    for index in range(size):
        bits |= np.int64(data[at + index]) << (8 * index)
    return bits


@inlined
def _put_sized(
    data: Any, end: Integer, size: Integer, quoted: bool, out: Any, limit: Integer, state: Any
) -> None:
    start = state[READ]
    if state[STATUS] or size < 0 or size > end - start:
        state[STATUS] = REFUSED
    elif not _room(6 * size + 2 if quoted else size, limit, state):
        return
    elif quoted:
        _put_string(data, start, size, out, state)
    else:
        _put_text(data, start, size, out, state)
    state[READ] = start + size


@inlined
def _put_scalar(
    data: Any, end: Integer, operation: Integer, first: Integer, second: Integer, kids: Any,
    constants: Any, quoted: bool, out: Any, limit: Integer, state: Any,
) -> None:  # fmt: skip
    """One value that has no values inside: text in quotes if `quoted`, else bare."""
    if not _room(64, limit, state):
        return
    start = state[READ]
    if operation == TEXT:
        _put_sized(data, end, _read_long(data, end, state), quoted, out, limit, state)
    elif operation == LONG:
        _put_integer(_read_long(data, end, state), out, state)
    elif operation in (DOUBLE, FLOAT):
        size = 8 if operation == DOUBLE else 4
        if start + size > end:
            state[STATUS] = REFUSED
            return
        state[READ] = start + size
        bits = _little_endian(data, start, size)
        if operation == DOUBLE:
            _put_double(_as_double(bits), out, state)
        else:
            _put_float(_as_float(bits), out, state)
    elif operation == NULL:
        for byte in (110, 117, 108, 108):
            _put_byte(byte, out, state)
    elif operation == INT:
        value = _read_long(data, end, state)
        if not -0x80000000 <= value < 0x80000000:
            state[STATUS] = REFUSED
            return
        _put_integer(value, out, state)
    elif operation in (MILLISECONDS, MICROSECONDS, NANOSECONDS):
        value = _read_long(data, end, state)
        if operation == MILLISECONDS:
            value = value * 1000 if 0 <= value < _LAST_MILLISECONDS else 0
        elif operation == NANOSECONDS:
            value //= 1000
        if value < _FIRST_NUMERIC_TIME:
            state[STATUS] = REFUSED
            return
        _put_integer(value, out, state)
    elif operation == BOOLEAN:
        if start >= end or data[start] > 1:
            state[STATUS] = REFUSED
            return
        state[READ] = start + 1
        if data[start]:
            for byte in (116, 114, 117, 101):
                _put_byte(byte, out, state)
        else:
            for byte in (102, 97, 108, 115, 101):
                _put_byte(byte, out, state)
    elif operation == FIXED:
        _put_sized(data, end, first, quoted, out, limit, state)
    else:
        if quoted:
            _put_byte(34, out, state)
        if operation == ENUM:
            index = _read_long(data, end, state)
            if state[STATUS] or not 0 <= index < second:
                state[STATUS] = REFUSED
                return
            if not _room(kids[first + index, 2] + 1, limit, state):
                return
            _constant(constants, kids, first + index, out, state)
        elif operation == DATE:
            _put_date(_read_long(data, end, state), out, state)
        else:
            size = first if first >= 0 else _read_long(data, end, state)
            start = state[READ]
            if state[STATUS] or size < 0 or size > end - start:
                state[STATUS] = REFUSED
                return
            _put_unscaled(data, start, size, second, out, state)
            state[READ] = start + size
        if quoted:
            _put_byte(34, out, state)


@compiled
def _put_key(
    data: Any, end: Integer, keys: Any, known: Integer, out: Any, limit: Integer, state: Any
) -> None:
    """The next key of a map of which `known` were read."""
    size = _read_long(data, end, state)
    start = state[READ]
    if state[STATUS] or size < 0 or size > end - start or known == _KEYS:
        state[STATUS] = REFUSED
        return
    keys[known, 0] = start
    keys[known, 1] = size
    if _has_key(data, keys, known):
        state[STATUS] = REFUSED
        return
    if not _room(6 * size + 3, limit, state):
        return
    _put_string(data, start, size, out, state)
    _put_byte(58, out, state)
    state[READ] = start + size


@compiled
def _put_json(
    data: Any, end: Integer, nodes: Any, kids: Any, constants: Any, node: Integer, out: Any,
    limit: Integer, stack: Any, keys: Any, state: Any,
) -> None:  # fmt: skip
    """One value with what is inside it, as JSON.

    The stack's frames: a node; the next kid of a record, or how many values of an array's or
    map's current block are left; and how many values are written.
    """
    depth = 0
    while True:
        operation = nodes[node, 0]
        if operation == UNION:
            branch = _read_long(data, end, state)
            if state[STATUS] or not 0 <= branch < nodes[node, 2]:
                state[STATUS] = REFUSED
                return
            node = kids[nodes[node, 1] + branch, 0]
            operation = nodes[node, 0]
        if operation in (RECORD, ARRAY, MAP):
            if depth == _DEPTH:
                state[STATUS] = REFUSED
                return
            if not _room(1, limit, state):
                return
            _put_byte(91 if operation == ARRAY else 123, out, state)
            stack[depth, 0] = node
            stack[depth, 1] = nodes[node, 1] if operation == RECORD else 0
            stack[depth, 2] = 0
            depth += 1
        else:
            _put_scalar(
                data, end, operation, nodes[node, 1], nodes[node, 2], kids, constants, True, out,
                limit, state,
            )  # fmt: skip
        if state[STATUS]:
            return
        # The next value to be written, and what stands before it.
        found = False
        while depth and not found:
            top = depth - 1
            node = stack[top, 0]
            operation = nodes[node, 0]
            if not _room(2, limit, state):
                return
            if operation == RECORD:
                kid = stack[top, 1]
                found = kid < nodes[node, 1] + nodes[node, 2]
                if found:
                    if not _room(kids[kid, 2] + 1, limit, state):
                        return
                    if stack[top, 2]:
                        _put_byte(44, out, state)
                    _constant(constants, kids, kid, out, state)
                    stack[top, 1] += 1
                    node = kids[kid, 0]
            else:
                if not stack[top, 1]:
                    count = _read_long(data, end, state)
                    if count < 0:
                        count = -count
                        _read_long(data, end, state)
                    if state[STATUS] or count < 0:
                        state[STATUS] = REFUSED
                        return
                    stack[top, 1] = count
                found = stack[top, 1] > 0
                if found:
                    stack[top, 1] -= 1
                    if stack[top, 2]:
                        _put_byte(44, out, state)
                    if operation == MAP:
                        _put_key(data, end, keys[top], stack[top, 2], out, limit, state)
                        if state[STATUS]:
                            return
                    node = nodes[node, 1]
            if found:
                stack[top, 2] += 1
            else:
                _put_byte(93 if operation == ARRAY else 125, out, state)
                depth = top
        if not found:
            return


@compiled
def _decode(
    data: Any, ends: Any, counts: Any, nodes: Any, kids: Any, constants: Any, columns: Any,
    out: Any, bases: Any, offsets: Any, valid: Any, stack: Any, keys: Any, state: Any,
) -> Integer:  # fmt: skip
    row = 0
    begin = np.int64(0)
    for block in range(len(ends)):
        first = row
        state[READ] = begin
        state[STATUS] = GOOD
        for _ in range(counts[block]):
            for column in range(len(columns)):
                node = columns[column, 0]
                state[WRITE] = bases[column] + offsets[column, row]
                if nodes[node, 0] == UNION:
                    branch = _read_long(data, ends[block], state)
                    if not 0 <= branch < nodes[node, 2]:
                        state[STATUS] = REFUSED
                        branch = 0
                    node = kids[nodes[node, 1] + branch, 0]
                is_value = nodes[node, 0] != NULL
                if is_value and not state[STATUS]:
                    if columns[column, 1]:
                        _put_json(
                            data, ends[block], nodes, kids, constants, node, out,
                            bases[column + 1] - SLACK, stack, keys, state,
                        )  # fmt: skip
                    else:
                        _put_scalar(
                            data, ends[block], nodes[node, 0], nodes[node, 1], nodes[node, 2], kids,
                            constants, False, out, bases[column + 1] - SLACK, state,
                        )  # fmt: skip
                if state[STATUS]:
                    state[READ] = first
                    state[WRITE] = column
                    return block
                valid[column, row] = is_value
                offsets[column, row + 1] = state[WRITE] - bases[column]
            row += 1
        if state[READ] != ends[block]:
            state[READ] = first
            state[STATUS] = REFUSED
            return block
        begin = ends[block]
    state[READ] = row
    return len(ends)


@typed(
    int64, _BYTES, int64[::1], int64[::1], int64[:, ::1], int64[:, ::1], _BYTES, int64[:, ::1],
    _BYTES, int64[::1], int64[:, ::1], uint8[:, ::1], _STATE,
)  # fmt: skip
def decode(
    data: Any, ends: Any, counts: Any, nodes: Any, kids: Any, constants: Any, columns: Any,
    out: Any, bases: Any, offsets: Any, valid: Any, state: Any,
) -> Integer:  # fmt: skip
    """Blocks of records → text by column; how many of the blocks it took.

    `data` holds the blocks' records, block `i` up to `ends[i]`, `counts[i]` of them. `columns`
    holds each column's node and whether it is JSON. Column `c` is written to `out` from `bases[c]`
    to at most `bases[c + 1]`: its row `r` begins `offsets[c, r]` bytes after `bases[c]`, and is not
    null if `valid[c, r]`. `state` returns the number of rows (in place of READ), the column that is
    FULL (in place of WRITE), and why it stopped (STATUS).
    """
    stack_memory = np.empty((_DEPTH, 3), np.int64)
    keys_memory = np.empty((_DEPTH, _KEYS, 2), np.int64)
    stack, keys = _borrowed(stack_memory), _borrowed(keys_memory)
    taken = _decode(
        _borrowed(data), _borrowed(ends), _borrowed(counts), _borrowed(nodes), _borrowed(kids),
        _borrowed(constants), _borrowed(columns), _borrowed(out), _borrowed(bases),
        _borrowed(offsets), _borrowed(valid), stack, keys, _borrowed(state),
    )  # fmt: skip
    stack_memory[0, 0] = keys_memory[0, 0, 0] = 0  # they live until here
    return taken
