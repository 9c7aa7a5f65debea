"""Which tensors a pickle of `torch.save` describes, found by reading its opcodes; nothing is unpickled, imported or called.

A small interpreter with values of its own: it knows the opcodes that torch writes for plain values and tensors, and what else
a pickle would import or call is only written down, by name. Of the standard library and `errors.py` only.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dlcv.runtime.errors import reason_of

STORAGES = {
    "FloatStorage": ("float32", 4), "DoubleStorage": ("float64", 8), "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2), "LongStorage": ("int64", 8), "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2), "CharStorage": ("int8", 1), "ByteStorage": ("uint8", 1), "BoolStorage": ("bool", 1),
    "UntypedStorage": ("uint8", 1),
}  # fmt: skip
"""torch's names of storages -> name and bytes of an element."""
_HARMLESS = {"collections.OrderedDict", "torch.Size", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor",
             "torch._utils._rebuild_parameter", *(f"torch.{name}" for name in STORAGES)}  # fmt: skip
_MAX_OPCODES = 1_000_000
"""A network of a thousand tensors has some 50,000, and its optimizer twice as many; this many take seconds."""
_MAX_TENSORS = 100_000
_MAX_DEPTH = 64
_MAX_SIZE = 1 << 48


class PickleError(ValueError):
    """The pickle is damaged, or holds what this reader does not follow; says which."""


@dataclass(frozen=True)
class PickledTensor:
    """A tensor that a pickle describes.

    Attributes:
        dtype: name of the type, such as `float32`.
        shape: its sizes.
        storage: the archive's member `data/STORAGE` that holds its values; tensors may share one.
        storage_bytes: what that member must hold.
        offset: of its first value in the storage, in elements.
    """

    dtype: str
    shape: tuple[int, ...]
    storage: str
    storage_bytes: int
    offset: int


@dataclass(frozen=True)
class Pickled:
    """What a pickle describes.

    Attributes:
        tensors: by their path, the keys on the way joined by `/`.
        other_names: what it would import beyond tensors and plain values, such as `os.system`; sorted.
    """

    tensors: dict[str, PickledTensor]
    other_names: tuple[str, ...]


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Storage:
    dtype: str
    item: int
    key: str
    size: int


class _Opaque:
    """The result of something that was not done."""


_MARK = object()


def read_pickled(data: bytes) -> Pickled:
    """Reads which tensors a pickle describes.

    Args:
        data: the member `data.pkl` of an archive that `torch.save` wrote.

    Raises:
        PickleError: when it is damaged, or uses an opcode that torch does not write.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count >= _MAX_OPCODES:
                raise PickleError(f"its pickle has more than {_MAX_OPCODES} opcodes")
            machine.step(opcode.name, argument)
        root = machine.result
    except PickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, EOFError) as error:
        raise PickleError(f"its pickle is damaged ({reason_of(error)})") from error
    return Pickled(_tensors(root), tuple(sorted(machine.names - _HARMLESS)))


class _Machine:
    def __init__(self) -> None:
        self.names: set[str] = set()
        self.result: Any = None
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _IGNORED:
            return
        if name in _PUSHED:
            self._stack.append(argument)
        elif name in _MADE:
            self._stack.append(_MADE[name]())
        elif name in _PUT:
            self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]
        elif name in _GET:
            self._stack.append(self._memo[argument])
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise PickleError(f"its pickle uses {name}, which torch does not write for weights")

    def global_(self, argument: Any) -> None:
        self._push_global(*str(argument).split(" ", 1))

    def stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._push_global(str(module), str(name))

    def tuple_(self, _: Any) -> None:
        self._stack.append(tuple(self._to_mark()))

    def tuple1(self, _: Any) -> None:
        self._short_tuple(1)

    def tuple2(self, _: Any) -> None:
        self._short_tuple(2)

    def tuple3(self, _: Any) -> None:
        self._short_tuple(3)

    def setitem(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def setitems(self, _: Any) -> None:
        self._set(self._to_mark())

    def append(self, _: Any) -> None:
        value = self._stack.pop()
        self._extend([value])

    def appends(self, _: Any) -> None:
        self._extend(self._to_mark())

    def build(self, _: Any) -> None:
        self._stack.pop()  # attributes, such as a state dict's `_metadata`

    def binpersid(self, _: Any) -> None:
        match self._stack.pop():
            case ("storage", _Global(name=name), str(key), str(), int(size)) if 0 <= size < _MAX_SIZE:
                dtype, item = STORAGES.get(name.rpartition(".")[2], ("unknown", 0))
                self._stack.append(_Storage(dtype, item, key, size))
            case _:
                raise PickleError("its pickle refers to a storage in a way that torch does not write")

    def reduce(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._stack.append(_called(function.name if isinstance(function, _Global) else "", arguments))

    def newobj(self, _: Any) -> None:
        self._stack.pop(), self._stack.pop()
        self._stack.append(_Opaque())

    def stop(self, _: Any) -> None:
        self.result = self._stack.pop()

    def _push_global(self, module: str, name: str) -> None:
        self.names.add(f"{module}.{name}"[:200])
        self._stack.append(_Global(f"{module}.{name}"))

    def _short_tuple(self, size: int) -> None:
        values = tuple(self._stack[-size:])
        if len(values) != size:
            raise PickleError("its pickle is damaged (too few values)")
        del self._stack[-size:]
        self._stack.append(values)

    def _to_mark(self) -> list[Any]:
        values = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _set(self, pairs: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            for key, value in zip(pairs[::2], pairs[1::2], strict=True):
                target[key if isinstance(key, (str, int)) else f"({type(key).__name__})"] = value
        elif not isinstance(target, _Opaque):
            raise PickleError("its pickle is damaged (items for what is no dictionary)")

    def _extend(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, _Opaque):
            raise PickleError("its pickle is damaged (items for what is no list)")


def _called(name: str, arguments: Any) -> Any:
    """What a call would give: a tensor, a dictionary, or something unknown. Nothing is called."""
    if name == "collections.OrderedDict" and arguments == ():
        return {}
    if name == "torch._utils._rebuild_parameter" and isinstance(arguments, tuple) and arguments:
        return arguments[0]
    if name not in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
        return _Opaque()
    match arguments:
        case (_Storage() as storage, int(offset), tuple(shape), *_) if _sizes((offset, *shape)):
            size = storage.size * storage.item
            return PickledTensor(storage.dtype, shape, storage.key, size, offset)
    raise PickleError("its pickle rebuilds a tensor in a way that torch does not write")


def _sizes(values: tuple[Any, ...]) -> bool:
    return len(values) <= 65 and all(type(value) is int and 0 <= value < _MAX_SIZE for value in values)


def _tensors(root: Any) -> dict[str, PickledTensor]:
    """The tensors in dictionaries, lists and tuples, each container entered once, in the order of the file."""
    found: dict[str, PickledTensor] = {}
    entered: set[int] = set()
    waiting: list[tuple[str, int, Any]] = [("", 0, root)]
    while waiting:
        path, depth, value = waiting.pop()
        if isinstance(value, PickledTensor):
            found[path] = value
            if len(found) > _MAX_TENSORS:
                raise PickleError(f"it holds more than {_MAX_TENSORS} tensors")
            continue
        if not isinstance(value, (dict, list, tuple)) or id(value) in entered:
            continue
        if depth >= _MAX_DEPTH:
            raise PickleError(f"its values are nested more than {_MAX_DEPTH} deep")
        entered.add(id(value))
        items = list(value.items() if isinstance(value, dict) else enumerate(value))
        waiting += [(f"{path}/{key}"[-1000:].lstrip("/"), depth + 1, inner) for key, inner in reversed(items)]
    return found


_IGNORED = ("PROTO", "FRAME")
_PUSHED = (
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINBYTES", "SHORT_BINBYTES",
)  # fmt: skip
_MADE: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": _Opaque, "MARK": lambda: _MARK,
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
}  # fmt: skip
_PUT = ("BINPUT", "LONG_BINPUT", "MEMOIZE")
_GET = ("BINGET", "LONG_BINGET")
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "GLOBAL": _Machine.global_, "STACK_GLOBAL": _Machine.stack_global, "TUPLE": _Machine.tuple_,
    "TUPLE1": _Machine.tuple1, "TUPLE2": _Machine.tuple2, "TUPLE3": _Machine.tuple3, "SETITEM": _Machine.setitem,
    "SETITEMS": _Machine.setitems, "APPEND": _Machine.append, "APPENDS": _Machine.appends, "BUILD": _Machine.build,
    "BINPERSID": _Machine.binpersid, "REDUCE": _Machine.reduce, "NEWOBJ": _Machine.newobj, "STOP": _Machine.stop,
}  # fmt: skip
