"""`--set key=value`: change one number of a recipe, checked as strictly as the recipe itself."""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from components.store.errors import ConfigurationError

Config = TypeVar("Config", bound=BaseModel)


def override(config: Config, settings: Sequence[str]) -> Config:
    """`config` with every `dotted.key=value` applied, validated once at the end.

    Values are JSON where they can be, and text otherwise; `a,b,c` becomes a list where the field takes one.

    Raises:
        ConfigurationError: a setting without `=`, an unknown key (near matches are named), or values that do not
            fit together (the field is named with what is wrong).
    """
    data = config.model_dump(mode="json")
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise ConfigurationError(f"--set {setting!r} is not KEY=VALUE; for example --set seed=1")
        _assign(config, data, key.strip(), text.strip())
    return checked(type(config), data, "recipe")


def checked(kind: type[Config], data: Any, what: str) -> Config:
    """`data` as a `kind`. Raises ConfigurationError that names each field at fault, and why."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError(explain(error, what)) from None


def explain(error: ValidationError, what: str) -> str:
    """A validation error as one line a person can act on: each field, what is wrong with it, and what it was."""
    problems = []
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"]) or what
        message = item["msg"].removeprefix("Value error, ")
        given = item.get("input")
        shown = f" (it is {given!r})" if isinstance(given, str | int | float | bool) else ""
        problems.append(f"{place}: {message}{shown}")
    return f"the {what} does not hold together: " + "; ".join(problems)


def keys(config: BaseModel, prefix: str = "") -> list[str]:
    """Every dotted key that `--set` takes."""
    found: list[str] = []
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            found += keys(value, f"{prefix}{name}.")
            if getattr(value, "set_by_name", False):
                found.append(prefix + name)
        elif isinstance(value, Mapping):
            found += [f"{prefix}{name}.{key}" for key in value]
        else:
            found.append(prefix + name)
    return found


def nearest(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known words that `word` was probably meant to be, best first."""
    tail = word.rsplit(".", 1)[-1]
    alike = {k: difflib.SequenceMatcher(None, word, k).ratio() for k in known}
    alike |= {k: 1.0 for k in alike if k.rsplit(".", 1)[-1] == tail}
    best = max(alike.values(), default=0.0)
    near = [k for k, ratio in alike.items() if ratio >= max(0.6, best - 0.05)]
    return sorted(near, key=lambda k: -alike[k])[:most]


def _assign(config: BaseModel, data: dict[str, Any], key: str, text: str) -> None:
    known = keys(config)
    if key not in known:
        raise ConfigurationError(f"this recipe has no {key!r}; {_hint(key, known)}")
    node, model, last = data, config, key
    while last not in node:  # a mapping's own keys may hold dots, so the key is not simply split
        head, _, last = last.partition(".")
        node, model = node[head], getattr(model, head)
    annotation = type(model).model_fields[last].annotation if isinstance(model, BaseModel) else None
    node[last] = parse(text, annotation)


def _hint(key: str, known: Sequence[str]) -> str:
    inside = [k for k in known if k.startswith(key + ".")]
    if inside:
        return f"it is a group; set one of its fields: {', '.join(inside)}"
    near = nearest(key, known)
    if near:
        return f"did you mean {' or '.join(near)}?"
    group = [k for k in known if k.startswith(key.split(".")[0] + ".")]
    return f"it has: {', '.join(group or dict.fromkeys(k.split('.')[0] for k in known))}"


def parse(text: str, annotation: Any = None) -> Any:
    """A setting's value: text for a text field, a list for a list field, else JSON, else text."""
    if _takes(annotation, str) and not _takes(annotation, int, float, bool):
        return None if text == "null" and _takes(annotation, type(None)) else text.strip('"')
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if value is not None and _takes(annotation, tuple, list) and not isinstance(value, list):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return [parse(part) for part in parts]
    return value


def _takes(annotation: Any, *kinds: type) -> bool:
    """Whether a field so annotated accepts a value of one of `kinds`."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return any(_takes(a, *kinds) for a in get_args(annotation))
    if origin is not None and str(origin) == "typing.Literal":
        return any(isinstance(a, kinds) for a in get_args(annotation))
    return (origin or annotation) in kinds
