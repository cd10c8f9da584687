"""Vectors of eight float32 numbers for numba kernels.

LLVM vectorises a loop by itself only where it can prove that arrays do not overlap, and computes the
remainder of the loop number by number: that is the whole loop, for the few channels of an adapter. So the
kernels are written in vectors, which have a numba type of their own. Eight numbers fill one register of
AVX2; LLVM splits them on narrower machines.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

# Numbers in a vector; kernels take channels in multiples of it.
LANES = 8

# Multiply-adds may be fused; a sum of lanes may be taken in any order.
_FUSED, _ANY_ORDER = ("contract", "nsz"), ("reassoc", "nsz")
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_BITS = ir.VectorType(ir.IntType(32), LANES)


class Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


vector = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend_type: types.Type) -> None:
        super().__init__(manager, frontend_type, _FLOATS)


def _define_operator(python_operator: Any, instruction: str) -> None:
    @infer_global(python_operator)
    class _Signature(AbstractTemplate):
        def generic(self, args: tuple, kws: dict) -> Any:
            return signature(vector, vector, vector) if args == (vector, vector) else None

    @lower_builtin(python_operator, vector, vector)
    def _lower(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        return getattr(builder, instruction)(*args, flags=_FUSED)


for _operator, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define_operator(_operator, _instruction)


def _address(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
    """Pointer to the element of array args[0] at args[1], an index or a tuple; none may be negative."""
    array_type, index_type = sig.args[:2]
    values, kinds = [args[1]], [index_type]
    if isinstance(index_type, types.BaseTuple):
        values, kinds = cgutils.unpack_tuple(builder, args[1], len(index_type)), index_type
    indices = [
        context.cast(builder, value, kind, types.intp)
        for value, kind in zip(values, kinds, strict=True)
    ]
    array = context.make_array(array_type)(context, builder, args[0])
    return cgutils.get_item_pointer(context, builder, array_type, array, indices, wraparound=False)


def _vector_address(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
    return builder.bitcast(_address(context, builder, sig, args), _FLOATS.as_pointer())


def _spread(builder: Any, number: Any) -> Any:
    first, everywhere = ir.Constant(ir.IntType(32), 0), ir.Constant(_BITS, [0] * LANES)
    empty = ir.Constant(_FLOATS, ir.Undefined)
    one = builder.insert_element(empty, number, first)
    return builder.shuffle_vector(one, empty, everywhere)


@intrinsic
def load(typingctx, array, index):  # noqa: ANN001, ANN201 - numba's intrinsic protocol
    """The vector that begins at `index` of a float32 array; nothing checks that it ends within."""

    def generate(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        value = builder.load(_vector_address(context, builder, sig, args))
        value.align = 4
        return value

    return vector(array, index), generate


@intrinsic
def store(typingctx, array, index, value):  # noqa: ANN001, ANN201 - numba's intrinsic protocol
    """Write a vector from `index` of a float32 array on."""

    def generate(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        builder.store(args[2], _vector_address(context, builder, sig, args)).align = 4
        return context.get_dummy_value()

    return types.none(array, index, value), generate


@intrinsic
def splat(typingctx, number):  # noqa: ANN001, ANN201 - numba's intrinsic protocol
    """A vector of one number, eight times."""

    def generate(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        return _spread(builder, context.cast(builder, args[0], sig.args[0], types.float32))

    return vector(number), generate


@intrinsic
def broadcast(typingctx, array, index):  # noqa: ANN001, ANN201 - numba's intrinsic protocol
    """A vector of the number at `index` of a float32 array, eight times."""

    def generate(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        return _spread(builder, builder.load(_address(context, builder, sig, args)))

    return vector(array, index), generate


@intrinsic
def multiply_add(typingctx, a, b, c):  # noqa: ANN001, ANN201 - numba's intrinsic protocol
    """``a * b + c``, fused where the machine can; an explicit call fixes which product is fused."""

    def generate(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
        name = f"llvm.fmuladd.v{LANES}f32"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return vector(a, b, c), generate


@intrinsic
def total(typingctx, value):  # noqa: ANN001, ANN201 - numba's intrinsic protocol
    """The sum of a vector's numbers."""

    def generate(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), _FLOATS])
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        add = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(add, [ir.Constant(ir.FloatType(), 0.0), args[0]], fastmath=_ANY_ORDER)

    return types.float32(value), generate


@intrinsic
def at_least(typingctx, bound, value):  # noqa: ANN001, ANN201 - numba's intrinsic protocol
    """The larger of two vectors, number by number; a value that is not a number stays so."""

    def generate(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return vector(bound, value), generate


@intrinsic
def at_most(typingctx, bound, value):  # noqa: ANN001, ANN201 - numba's intrinsic protocol
    """The smaller of two vectors, number by number; a value that is not a number stays so."""

    def generate(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return vector(bound, value), generate


@intrinsic
def raise_exponent(typingctx, value, power):  # noqa: ANN001, ANN201 - numba's intrinsic protocol
    """Multiply `value` by 2 to the integer in the low bits of `power`, in the exponent itself."""

    def generate(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        value, power = (builder.bitcast(x, _BITS) for x in args)
        shift = ir.Constant(_BITS, [23] * LANES)
        return builder.bitcast(builder.add(value, builder.shl(power, shift)), _FLOATS)

    return vector(value, power), generate
