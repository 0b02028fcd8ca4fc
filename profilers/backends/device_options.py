"""The options behind a device's name: `host-onnxruntime:threads=2,precision=int8`.

Each kind of device has a frozen dataclass of what can be chosen on it. Its defaults are what the bare name means, so an
option that is given with its default value changes nothing, not even the name: equal devices have equal names, and so
share the rows of the latency table.
"""

import dataclasses
import difflib
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints

from profilers.device import num_usable_cores
from search_space.errors import UsageError


class _Options(Protocol):
    """Any dataclass instance."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


OptionsT = TypeVar("OptionsT", bound=_Options)


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Of a device on which nothing can be chosen."""


def with_dashes(device_name: str) -> str:
    """Reads `core_ml:units=all`, as the backend's file is called, as `core-ml:units=all`."""
    base, colon, options = device_name.partition(":")
    return f"{base.replace('_', '-')}{colon}{options}"


def split_device_name(device_name: str) -> tuple[str, dict[str, str]]:
    """Splits `BASE[:option=value[,option=value...]]`; what the options mean is the backend's business."""
    base, colon, text = with_dashes(device_name).partition(":")
    given: dict[str, str] = {}
    for part in text.split(",") if colon else ():
        match = re.fullmatch(r"([a-z_]+)=([\w.+-]+)", part, flags=re.ASCII)
        if match is None or match[1] in given:
            what = f"the device option {part!r}" if match is None else f"the device option {match[1]!r} twice"
            raise UsageError(f"{what} was given", allowed=f"{base}:option=value,option=value, each option once")
        given[match[1]] = match[2]
    return base, given


def read_options(base: str, options_type: type[OptionsT], given: Mapping[str, str]) -> OptionsT:
    """Turns the text of options into the dataclass that knows which ones there are.

    Args:
        base: The device's name without options, for messages.
        options_type: A frozen dataclass whose fields are Literals of text, integers from 1, or words.
        given: Options by name, as text.

    Raises:
        UsageError: An option is unknown, or its value is not allowed.
    """
    field_types = get_type_hints(options_type)
    values = {}
    for name, text in given.items():
        if name not in field_types:
            allowed = ", ".join(field_types) or "none; give the name alone"
            raise UsageError(f"{base} has no option {name!r}", allowed=allowed, fix=did_you_mean(name, field_types))
        values[name] = _value(base, name, text, field_types[name])
    return options_type(**values)


def canonical_name(base: str, options: _Options) -> str:
    """The one name of a device with these options: in the order of the fields, defaults left out."""
    chosen = [
        f"{field.name}={value}"
        for field in dataclasses.fields(options)
        if (value := getattr(options, field.name)) != field.default
    ]
    return f"{base}:{','.join(chosen)}" if chosen else base


def check_threads(threads: int) -> None:
    """Refuses more threads than this process may run at once: they would take turns, and the clock would see it."""
    if threads > num_usable_cores():
        raise UsageError(
            f"threads={threads} was given", allowed=f"1 to {num_usable_cores()}, the cores of this machine"
        )


def did_you_mean(given: str, allowed: Sequence[str] | Mapping[str, Any]) -> str:
    """What to write instead, for the last line of an error."""
    near = [name for name in allowed if name.startswith(given)] or difflib.get_close_matches(given, allowed, n=1)
    return f"did you mean {near[0]}?" if near else "give one of these" if allowed else ""


def _value(base: str, name: str, text: str, field_type: type | types.GenericAlias) -> str | int:
    if get_origin(field_type) is Literal:
        allowed = get_args(field_type)
        if text not in allowed:
            fix = did_you_mean(text, allowed)
            raise UsageError(f"{base}:{name}={text} was given", allowed=", ".join(allowed), fix=fix)
        return text
    if field_type is int:
        if re.fullmatch("[1-9][0-9]{0,3}", text, flags=re.ASCII) is None:
            raise UsageError(f"{base}:{name}={text} was given", allowed="an integer from 1")
        return int(text)
    assert field_type is str, f"an option of type {field_type}"
    return text
