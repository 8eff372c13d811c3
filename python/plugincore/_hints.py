"""Reads the type hints of a handler: a schema of what it takes, and how values become the hinted objects.

Called once for each handler, when its plugin is loaded. The server checks requests by the schema, in Rust; only what
has passed is converted here. A hint that cannot become a schema is a problem of its parameter alone.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
import typing
from collections.abc import Iterable
from typing import Any, NamedTuple

from plugincore._schemas import Convert, Reader, Schema, UnusableHintError, at_key, default, description, optional


class Parameter(NamedTuple):
    """A parameter whose values are checked and converted."""

    name: str
    convert: Convert


class Hints(NamedTuple):
    """What the hints of a handler say."""

    #: An object schema as JSON; its properties are the parameters, in the order of ``parameters``.
    schema: str
    parameters: list[Parameter]
    #: Names of parameters whose hints cannot become a schema, with the reasons.
    problems: list[tuple[str, str]]


def read(handler: Any, given: Iterable[str]) -> Hints | None:
    """Return what the hints of ``handler`` say of its parameters but those in ``given``; None if they say nothing."""
    function = getattr(handler, "__func__", handler)
    if not isinstance(function, types.FunctionType):
        return None
    own = getattr(handler, "__self__", None)
    scope = dict(vars(type(own))) if own is not None else {}
    reader = Reader()
    properties: dict[str, Schema] = {}
    required: list[str] = []
    parameters: list[Parameter] = []
    problems: list[tuple[str, str]] = []
    for parameter in list(_signature(function).parameters.values())[1 if own is not None else 0 :]:
        name, hint = parameter.name, parameter.annotation
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) or name in given:
            continue
        if hint is parameter.empty:
            continue
        before = dict(reader.definitions), dict(reader.classes)
        try:
            hint = _evaluated(hint, function, scope)
            if hint is Any or hint is object:
                continue
            form = reader.form(hint)
            schema, convert = optional(form) if parameter.default is None else form
        except Exception as error:  # Hints are code of the plugin's own, which may raise anything.
            reader.definitions, reader.classes = before
            problems.append(
                (name, str(error) if isinstance(error, UnusableHintError) else f"{type(error).__name__}: {error}")
            )
            continue
        if parameter.default is parameter.empty:
            required.append(name)
        else:
            schema = schema | default(parameter.default)
        properties[name] = schema
        parameters.append(Parameter(name, at_key(name, convert)))
    if not properties and not problems:
        return None
    whole = {"type": "object", "properties": properties, "required": required, "$defs": reader.definitions}
    return Hints(json.dumps(whole), parameters, problems)


def describe(instance: Any, handler: Any) -> tuple[str, list[str]]:
    """Return what a plugin says of itself, as JSON, and what of that cannot be used.

    Members are ``about`` (of the class), ``summary`` and ``description`` (of the handler, else of the class),
    ``result`` (a schema of what the handler returns) and ``own`` (members that replace generated ones).
    """
    said: Schema = {}
    problems: list[str] = []
    about = description(type(instance))
    function = getattr(handler, "__func__", handler)
    is_function = isinstance(function, types.FunctionType)
    text = (inspect.cleandoc(function.__doc__ or "") if is_function else "") or about
    summary, _, more = text.partition("\n")
    for name, value in (("about", about), ("summary", summary.strip()), ("description", more.strip())):
        if value:
            said[name] = value
    if is_function:
        result = _result(function, dict(vars(type(instance))))
        if result:
            said["result"] = result
    try:
        own = getattr(instance, "describe", None)
        own, what = (own(), "describe()") if callable(own) else (getattr(instance, "openapi", None), "openapi")
        if inspect.iscoroutine(own):
            own.close()  # It is not awaited.
        if own is not None:
            if not isinstance(own, dict) or not all(isinstance(name, str) for name in own):
                raise TypeError(f"{what} is a {type(own).__name__}, not a dict of JSON")
            said["own"] = json.loads(json.dumps(own, allow_nan=False))
    except Exception as error:
        problems.append(f"{type(error).__name__}: {error}")
    return json.dumps(said), problems


def _result(function: types.FunctionType, scope: dict[str, Any]) -> Schema | None:
    """Return the schema of what ``function`` returns, if its hint says that; of a tuple, that is the second item."""
    reader = Reader()
    try:
        hint = _signature(function).return_annotation
        if hint is inspect.Signature.empty:
            return None
        hint = _evaluated(hint, function, scope)
        if typing.get_origin(hint) is tuple and len(arguments := typing.get_args(hint)) in (2, 3):
            hint = arguments[1]
        if hint in (str, bytes, tuple):  # They are sent as they are, or may be anything.
            return None
        schema = reader.form(hint).schema
    except Exception:  # It says nothing that a schema can say, which is no fault.
        return None
    return (schema | {"$defs": reader.definitions}) if schema else None


def _signature(function: types.FunctionType) -> inspect.Signature:
    # Of a decorated handler that of the wrapper: what it passes on may be of its own making.
    if sys.version_info >= (3, 14):
        import annotationlib

        form = annotationlib.Format.FORWARDREF
        return inspect.signature(function, follow_wrapped=False, annotation_format=form)
    return inspect.signature(function, follow_wrapped=False)


class _Holder:
    """What ``typing.get_type_hints`` is asked about: one hint, so that others may fail."""


def _evaluated(hint: Any, function: types.FunctionType, scope: dict[str, Any]) -> Any:
    holder = types.FunctionType((lambda: None).__code__, function.__globals__)
    holder.__annotations__ = {"hint": hint}
    return typing.get_type_hints(holder, localns=scope, include_extras=True)["hint"]
