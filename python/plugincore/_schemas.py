"""Makes a JSON schema of a type hint, and how a value that fits the schema becomes the hinted object.

A :class:`Reader` reads the hints that share definitions. A hint that cannot become a schema raises
:class:`UnusableHintError`; hints are code of plugins, so that any other exception may come, too.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from enum import Enum
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

Schema: TypeAlias = dict[str, Any]
#: Makes the hinted object of a JSON value, which fits the schema; else it raises a ``ValueError``.
Convert: TypeAlias = Callable[[Any], Any]

#: Bounds by the names that ``msgspec.Meta``, annotated-types and pydantic share, and what JSON Schema calls them.
_BOUNDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}
_LENGTHS = {
    "string": {"min_length": "minLength", "max_length": "maxLength"},
    "array": {"min_length": "minItems", "max_length": "maxItems"},
    "object": {"min_length": "minProperties", "max_length": "maxProperties"},
}
_NAMES = ("title", "description", "examples")


class UnusableHintError(Exception):
    """A hint that cannot become a schema; the text is the reason."""


class InvalidValueError(ValueError):
    """A value that does not fit its hint, of which the schema alone does not tell.

    Attributes:
        errors: Pairs of a JSON pointer and what is wrong there.

    """

    def __init__(self, errors: Iterable[tuple[str, str]]) -> None:
        """Create the exception that the server answers with 422."""
        self.errors = list(errors)
        super().__init__("; ".join(f"{pointer}: {detail}" for pointer, detail in self.errors))

    def __plugincore_invalid__(self) -> list[tuple[str, str]]:
        """Return what is wrong; called by the server."""
        return self.errors


class Form(NamedTuple):
    """A hint as a schema, and how a value that fits it becomes the hinted object."""

    schema: Schema
    convert: Convert


def default(value: Any) -> Schema:
    """Return what a schema says of a default; nothing if JSON cannot hold it."""
    if isinstance(value, Enum):
        value = value.value
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return {}
    return {"default": value}


def at_key(key: str | int, convert: Convert) -> Convert:
    """Return ``convert``, whose errors say that they are at ``key``."""
    part = "/" + str(key).replace("~", "~0").replace("/", "~1")

    def located(value: Any) -> Any:
        try:
            return convert(value)
        except InvalidValueError as error:
            raise InvalidValueError((part + pointer, detail) for pointer, detail in error.errors) from None
        except ValueError as error:
            raise InvalidValueError([(part, str(error) or "the value does not fit")]) from None

    return located


class Reader:
    """Makes forms of hints; classes are defined once, so that they may hold themselves."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self.classes: dict[Any, Form] = {}

    def form(self, hint: Any) -> Form:
        """Return the form of ``hint``, or raise :class:`UnusableHintError`."""
        if hint is Any or hint is object:
            return Form({}, lambda value: value)
        if hint is None or hint is type(None):
            return Form({"type": "null"}, _none)
        if isinstance(hint, typing.NewType):
            return self.form(hint.__supertype__)
        if hasattr(typing, "TypeAliasType") and isinstance(hint, typing.TypeAliasType):
            return self.form(hint.__value__)
        plain = _PLAIN.get(hint) if isinstance(hint, type) else None
        if plain is not None:
            return plain
        origin = typing.get_origin(hint)
        if origin is not None:
            return self._special(hint, origin, typing.get_args(hint))
        if hint in _BARE:
            return self._special(hint, _BARE[hint], ())
        if isinstance(hint, type):
            return self._class(hint)
        raise UnusableHintError(f"{_shown(hint)} has no JSON schema")

    def _special(self, hint: Any, origin: Any, arguments: tuple[Any, ...]) -> Form:
        if origin is typing.Annotated:
            return _bounded(self.form(arguments[0]), hint.__metadata__)
        if origin in (typing.Union, types.UnionType):
            return _union([self.form(argument) for argument in arguments])
        if origin is typing.Literal:
            return _choice([(value.value if isinstance(value, Enum) else value, value) for value in arguments])
        if origin in (list, set, frozenset):
            return _array(self.form(arguments[0] if arguments else Any), origin)
        if origin is tuple:
            if not arguments or arguments[-1] is Ellipsis:
                return _array(self.form(arguments[0] if arguments else Any), tuple)
            return _pack([self.form(argument) for argument in arguments if argument != ()])
        if origin is dict:
            if arguments and arguments[0] not in (str, Any):
                raise UnusableHintError(f"the keys of JSON objects are text, not {_shown(arguments[0])}")
            return _mapping(self.form(arguments[1] if arguments else Any))
        return self._foreign(hint, origin)

    def _class(self, kind: type) -> Form:
        if issubclass(kind, Enum):
            return self._defined(kind, lambda: _choice([(member.value, member) for member in kind]))
        if typing.is_typeddict(kind):
            return self._defined(kind, lambda: self._typed_dict(kind))
        if hasattr(kind, "__pydantic_validator__") or hasattr(kind, "__struct_fields__"):
            return self._foreign(kind, kind)
        if dataclasses.is_dataclass(kind):
            return self._defined(kind, lambda: self._dataclass(kind))
        raise UnusableHintError(f"{_shown(kind)} has no JSON schema")

    def _defined(self, kind: Any, build: Callable[[], Form]) -> Form:
        known = self.classes.get(kind)
        if known is not None:
            return known
        name = _unused(kind.__name__, self.definitions)
        self.definitions[name] = {}

        def late(value: Any) -> Any:
            return converters[0](value)

        known = self.classes[kind] = Form({"$ref": f"#/$defs/{name}"}, late)
        schema, convert = build()
        converters = [convert]
        self.definitions[name] = {"title": kind.__name__} | schema
        return known

    def _typed_dict(self, kind: Any) -> Form:
        fields: dict[str, Form] = {}
        required = set(kind.__required_keys__)
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            while (origin := typing.get_origin(hint)) in _QUALIFIERS:
                if _QUALIFIERS[origin] is not None:
                    (required.add if _QUALIFIERS[origin] else required.discard)(name)
                hint = typing.get_args(hint)[0]
            fields[name] = self.form(hint)
        # What is not declared stays: a dict can hold it.
        return _object(kind, fields, required, lambda rest, made: rest | made)

    def _dataclass(self, kind: Any) -> Form:
        hints = typing.get_type_hints(kind, include_extras=True)
        fields: dict[str, Form] = {}
        required = set()
        for field in dataclasses.fields(kind):
            if not field.init:
                continue
            form = self.form(hints[field.name])
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                required.add(field.name)
            elif field.default is not dataclasses.MISSING:
                form = Form(form.schema | default(field.default), form.convert)
            fields[field.name] = form
        return _object(kind, fields, required, lambda _, made: kind(**made))

    def _foreign(self, hint: Any, kind: Any) -> Form:
        """Return the form of a class of msgspec's or pydantic's, which are installed if there is one."""
        if hasattr(kind, "__struct_fields__"):
            import msgspec

            def made(value: Any) -> Any:
                try:
                    return msgspec.convert(value, hint)
                except msgspec.ValidationError as error:
                    raise ValueError(str(error)) from None

            schema = msgspec.json.schema(hint, ref_template="#/$defs/{name}")
            return Form(self._adopted(schema), made)
        if hasattr(kind, "__pydantic_validator__"):
            import pydantic

            adapter = pydantic.TypeAdapter(hint)

            def checked(value: Any) -> Any:
                try:
                    return adapter.validate_python(value)
                except pydantic.ValidationError as error:
                    raise InvalidValueError((_pointer(one["loc"]), one["msg"]) for one in error.errors()) from None

            return Form(self._adopted(adapter.json_schema()), checked)
        raise UnusableHintError(f"{_shown(hint)} has no JSON schema")

    def _adopted(self, schema: Schema) -> Schema:
        """Return a schema of another library's, whose definitions become ours."""
        schema = dict(schema)
        theirs: dict[str, Schema] = schema.pop("$defs", {})
        names: dict[str, str] = {}
        for name, definition in theirs.items():
            same = self.definitions.get(name) == definition
            names[name] = name if same else _unused(name, self.definitions)
            self.definitions.setdefault(names[name], {})
        refs = {f"#/$defs/{old}": f"#/$defs/{new}" for old, new in names.items()}
        for name, definition in theirs.items():
            self.definitions[names[name]] = _renamed(definition, refs)
        renamed: Schema = _renamed(schema, refs)
        return renamed


def _renamed(schema: Any, refs: dict[str, str]) -> Any:
    if isinstance(schema, dict):
        return {
            key: refs.get(value, value) if key == "$ref" and isinstance(value, str) else _renamed(value, refs)
            for key, value in schema.items()
        }
    return [_renamed(item, refs) for item in schema] if isinstance(schema, list) else schema


def _unused(name: str, taken: Iterable[str]) -> str:
    """Return a name for a definition, which JSON pointers hold as it is."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    numbered = (f"{name}{number or ''}" for number in _count())
    return next(candidate for candidate in numbered if candidate not in taken)


def _count() -> Iterator[int]:
    yield 0
    number = 1
    while True:
        number += 1
        yield number


def _pointer(path: Iterable[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _shown(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) else str(hint)


def _wanted(what: str) -> ValueError:
    return ValueError(f"the value is not {what}")


def _none(value: Any) -> None:
    if value is not None:
        raise _wanted("null")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _wanted("text")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wanted("true or false")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():  # JSON's 1.0 is an integer.
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wanted("an integer")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wanted("a number")
    try:
        return float(value)
    except OverflowError:
        raise _wanted("within the range of floats") from None


def _uuid(value: Any) -> UUID:
    return UUID(_text(value))


def _datetime(value: Any) -> datetime:
    return datetime.fromisoformat(_text(value).upper())


def _date(value: Any) -> date:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", _text(value)):
        raise _wanted("a date")
    return date.fromisoformat(value)


_PLAIN: dict[Any, Form] = {
    str: Form({"type": "string"}, _text),
    int: Form({"type": "integer"}, _integer),
    float: Form({"type": "number"}, _number),
    bool: Form({"type": "boolean"}, _boolean),
    UUID: Form({"type": "string", "format": "uuid"}, _uuid),
    datetime: Form({"type": "string", "format": "date-time"}, _datetime),
    date: Form({"type": "string", "format": "date"}, _date),
}
#: Containers without the types of what they hold.
_BARE: dict[Any, Any] = {kind: kind for kind in (list, dict, tuple, set, frozenset)} | {
    typing.List: list,  # noqa: UP006
    typing.Dict: dict,  # noqa: UP006
}
#: What may stand around the hint of a key in a TypedDict, and whether that makes the key required.
_QUALIFIERS: dict[Any, bool | None] = {typing.Required: True, typing.NotRequired: False}
if sys.version_info >= (3, 13):
    _QUALIFIERS[typing.ReadOnly] = None


def optional(form: Form) -> Form:
    """Return the form of what may be None, too."""
    return form if _takes_null(form.schema) else _union([form, Form({"type": "null"}, _none)])


def _takes_null(schema: Schema) -> bool:
    kinds = schema.get("type", [])
    return (
        not schema
        or kinds == "null"
        or "null" in kinds
        or None in schema.get("enum", [])
        or any(_takes_null(one) for one in schema.get("anyOf", []))
    )


def _union(forms: list[Form]) -> Form:
    schemas = [form.schema for form in forms]
    schema: Schema = {"anyOf": schemas}
    if all(one.keys() == {"type"} and isinstance(one["type"], str) for one in schemas):
        schema = {"type": [one["type"] for one in schemas]}
    converters = [form.convert for form in forms]

    def convert(value: Any) -> Any:
        errors: list[ValueError] = []
        for convert in converters:
            try:
                return convert(value)
            except ValueError as error:
                errors.append(error)  # It may be of one of the others.
        # What is wrong inside of an object tells more than that it is not one of the others.
        raise next((error for error in errors if isinstance(error, InvalidValueError)), errors[-1])

    return Form(schema, convert)


def _choice(choices: list[tuple[Any, Any]]) -> Form:
    for value, _ in choices:
        if value is not None and not isinstance(value, (str, int, float)):
            raise UnusableHintError(f"{value!r} among the choices has no JSON")

    def convert(given: Any) -> Any:
        for value, meant in choices:
            # True is 1 in Python, but not in JSON.
            if value == given and isinstance(value, bool) == isinstance(given, bool):
                return meant
        raise _wanted("one of the choices")

    return Form({"enum": [value for value, _ in choices]}, convert)


def _array(item: Form, kind: Any) -> Form:
    unique = {"uniqueItems": True} if kind in (set, frozenset) else {}

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            raise _wanted("an array")
        try:
            return kind(at_key(number, item.convert)(one) for number, one in enumerate(value))
        except TypeError:  # Sets hold no lists and dicts.
            raise _wanted(f"what a {kind.__name__} can hold") from None

    return Form({"type": "array"} | ({"items": item.schema} if item.schema else {}) | unique, convert)


def _pack(items: list[Form]) -> Form:
    size = len(items)

    def convert(value: Any) -> Any:
        if not isinstance(value, list) or len(value) != size:
            raise _wanted(f"an array of {size} items")
        return tuple(at_key(number, items[number].convert)(one) for number, one in enumerate(value))

    schemas = [item.schema for item in items]
    return Form({"type": "array", "prefixItems": schemas, "minItems": size, "maxItems": size}, convert)


def _mapping(item: Form) -> Form:
    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _wanted("an object")
        return {key: at_key(key, item.convert)(one) for key, one in value.items()}

    return Form({"type": "object"} | ({"additionalProperties": item.schema} if item.schema else {}), convert)


def _object(
    kind: Any,
    fields: dict[str, Form],
    required: set[str],
    make: Callable[[dict[str, Any], dict[str, Any]], Any],
) -> Form:
    """Return the form of a class with these fields; ``make`` makes its objects of all values and of converted ones."""
    converters = {name: at_key(name, form.convert) for name, form in fields.items()}

    def convert(value: Any) -> Any:
        if not isinstance(value, dict) or not required <= value.keys():
            raise _wanted(f"a {kind.__name__}")
        return make(value, {name: convert(value[name]) for name, convert in converters.items() if name in value})

    schema: Schema = {"type": "object", "properties": {name: form.schema for name, form in fields.items()}}
    if required:
        schema["required"] = [name for name in fields if name in required]
    text = description(kind)
    return Form(schema | ({"description": text} if text else {}), convert)


def description(kind: Any) -> str:
    """Return the docstring, unless it is the one that a dataclass has by itself, or that of its base."""
    text = vars(kind).get("__doc__")
    # From Python 3.15 on, the one that a dataclass has by itself is no text before it is asked for.
    is_own = isinstance(text, str) and not text.startswith(f"{kind.__name__}(")
    return inspect.cleandoc(text) if is_own else ""


def _bounded(form: Form, metadata: Iterable[Any]) -> Form:
    """Return the form with the bounds that stand beside it in Annotated."""
    schema = dict(form.schema)
    for one in metadata:
        # pydantic's Field has the bounds in a list of its own.
        for bound in (one, *(getattr(one, "metadata", None) or ())):
            for name, keyword in _BOUNDS.items():
                value = getattr(bound, name, None)
                if value is not None:
                    schema[keyword] = _bound(name, value)
            kinds = schema.get("type", [])
            kinds = [kinds] if isinstance(kinds, str) else kinds
            lengths = next((_LENGTHS[kind] for kind in kinds if kind in _LENGTHS), {})
            for name in ("min_length", "max_length"):
                value = getattr(bound, name, None)
                if value is None or (name, value) == ("min_length", 0):
                    continue
                if not lengths:
                    raise UnusableHintError(f"{name} does not apply to {json.dumps(form.schema)}")
                schema[lengths[name]] = _bound(name, value)
        for name in _NAMES:
            value = getattr(one, name, None)
            if isinstance(value, (str, list)):
                schema[name] = value
        documentation = getattr(one, "documentation", None)
        if isinstance(documentation, str):
            schema["description"] = documentation
        extra = getattr(one, "extra_json_schema", None)
        if isinstance(extra, dict):
            schema |= extra
    return Form(schema, form.convert)


def _bound(name: str, value: Any) -> Any:
    wanted = str if name == "pattern" else (int, float)
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise UnusableHintError(f"the bound {name}={value!r} has no JSON")
    return value
