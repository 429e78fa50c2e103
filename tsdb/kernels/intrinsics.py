"""What numba lacks, as functions for kernels: prefetch, arrays over addresses, bit counts, bits of floats."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic
from numba.np import arrayobj


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """prefetch(array, index): asks for the cache line of a 1-D array's element, for reading and writing."""
    if not isinstance(array, types.Array):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, args[0])
        pointer = builder.bitcast(builder.gep(made.data, [args[1]]), cgutils.voidptr_t)
        i32 = ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0i8")
        builder.call(function, [pointer, i32(1), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


def _array_at(address: Any, length: Any, element: Any) -> Any:
    kind = types.Array(element, 1, "C")
    size = element.bitwidth // 8

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(kind)(context, builder)
        data = builder.inttoptr(args[0], context.get_data_type(element).as_pointer())
        item = context.get_constant(types.intp, size)
        arrayobj.populate_array(made, data=data, shape=[args[1]], strides=[item], itemsize=item, meminfo=None)
        return made._getvalue()

    return kind(types.uint64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def bytes_at(typingctx: Any, address: Any, length: Any) -> Any:
    """bytes_at(address, length): a u8 array over memory at a u64 address. Nothing counts references to it: the caller
    keeps the memory alive and checks bounds."""
    return _array_at(address, length, types.uint8)


@intrinsic  # type: ignore[untyped-decorator]
def words_at(typingctx: Any, address: Any, length: Any) -> Any:
    """words_at(address, length): a u64 array over memory at a u64 address divisible by 8. As `bytes_at` otherwise."""
    return _array_at(address, length, types.uint64)


def _unaligned(array: Any, index: Any, bits: int, result: Any) -> Any:
    if not isinstance(array, types.Array):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, args[0])
        data = builder.bitcast(made.data, cgutils.voidptr_t)
        pointer = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(bits).as_pointer())
        loaded = builder.load(pointer)
        loaded.align = 1
        return loaded

    return result(array, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def load_u64(typingctx: Any, array: Any, index: Any) -> Any:
    """load_u64(bytes, at): eight bytes of a u8 array at any byte offset, little-endian, unchecked. One instruction."""
    return _unaligned(array, index, 64, types.uint64)


@intrinsic  # type: ignore[untyped-decorator]
def load_u32(typingctx: Any, array: Any, index: Any) -> Any:
    """load_u32(bytes, at): as `load_u64`, four bytes."""
    return _unaligned(array, index, 32, types.uint32)


@intrinsic  # type: ignore[untyped-decorator]
def store_u64(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """store_u64(bytes, at, value): eight bytes into a u8 array at any byte offset, little-endian, unchecked."""
    if not isinstance(array, types.Array):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, args[0])
        data = builder.bitcast(made.data, cgutils.voidptr_t)
        pointer = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(64).as_pointer())
        builder.store(args[2], pointer).align = 1
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def leading_zeros(typingctx: Any, value: Any) -> Any:
    """Number of leading zero bits of a u64, as int64; 64 for 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(typingctx: Any, value: Any) -> Any:
    """Number of trailing zero bits of a u64, as int64; 64 for 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def ones(typingctx: Any, value: Any) -> Any:
    """Number of one bits of a u64, as int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def float_bits(typingctx: Any, value: Any) -> Any:
    """The bits of an f64 as u64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.uint64(types.float64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def bits_float(typingctx: Any, value: Any) -> Any:
    """The f64 with the given u64 bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.uint64), codegen
