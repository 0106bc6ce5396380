"""Operations: how a vendor's value becomes the value of a field, by the names that tables use.

They keep the contract of `values.py`: None for a value that says nothing or does not fit, a complaint of the second.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import orjson

from collectord.ecs.naming import cleaned, snaked, sound
from collectord.ecs.user_agents import parse
from collectord.ecs.values import (
    LONGEST_ADDRESS,
    Operation,
    Problems,
    coordinate,
    flag,
    ip,
    is_address,
    misfit,
    number,
    text,
    time,
)


def lower(value: Any, name: str, problems: Problems) -> Any:
    found = text(value, name, problems)
    if isinstance(found, list):
        return [one.lower() for one in found]
    return found.lower() if found else None


def hyphens(value: Any, name: str, problems: Problems) -> Any:
    """Lower case, blanks as hyphens: the way of Elastic's `event.action`."""
    found = lower(value, name, problems)
    if isinstance(found, list):
        return [one.replace(" ", "-") for one in found]
    return found.replace(" ", "-") if found else None


def said(value: Any, name: str, problems: Problems) -> Any:
    """Text of a value that has any type, even within one vendor's field: an object as JSON, of a list each member."""
    if value.__class__ is list:
        return [one for part in value if (one := said(part, name, problems)) is not None] or None
    return msgspec.json.encode(value).decode() if value.__class__ is dict else text(value, name, problems)


def ips(value: Any, name: str, problems: Problems) -> list[str] | None:
    """Every address of a union, once; some vendors write several into one text, parted by commas."""
    found: dict[Any, None] = {}
    for part in value:
        if part.__class__ is str and len(part) <= LONGEST_ADDRESS and is_address(part):
            found[part] = None
        elif part:
            found.update(dict.fromkeys(ip(one, name, problems) for one in _parts(part)))
    found.pop(None, None)
    return [*found] or None


def addresses(value: Any, name: str, _problems: Problems) -> list[str] | None:
    """What of a union is an address, once; for a field that only repeats others. SentinelOne masks some of them."""
    return ips(value, name, [])


def _parts(value: Any) -> list[Any]:
    if value.__class__ is list:
        return [one for part in value for one in _parts(part)]
    return [part.strip() for part in value.split(",")] if value.__class__ is str else [value]


def texts(value: Any, name: str, problems: Problems) -> list[str] | None:
    """Every text of a union, once."""
    found: dict[Any, None] = {}
    for part in value:
        if part.__class__ is str:
            found[part] = None
        elif part is not None:
            one = text(part, name, problems)
            found.update(dict.fromkeys(one if one.__class__ is list else [one]))
    found.pop(None, None)
    found.pop("", None)
    return [*found] or None


def macs(value: Any, name: str, problems: Problems) -> list[str] | None:
    """Hardware addresses as ECS writes them: 00-00-5E-00-53-23."""
    found = [mac.upper().replace(":", "-") for mac in texts(value, name, problems) or ()]
    return found or None


def common_names(value: Any, name: str, problems: Problems) -> list[str] | None:
    """The CN of each distinguished name, and every text that is none."""
    found = dict.fromkeys(_common_name(part) for part in texts(value, name, problems) or ())
    return [*found] or None


def _common_name(name: str) -> str:
    first = name.partition(",")[0]
    return first[3:] if first[:3].upper() == "CN=" and first[3:] else name


def mac(value: Any, name: str, problems: Problems) -> str | None:
    found = macs((value,), name, problems)
    return found[0] if found else None


def joined(value: Any, name: str, problems: Problems) -> str | None:
    return ", ".join(texts(value, name, problems) or ()) or None


def point(value: Any, name: str, _problems: Problems) -> dict[str, float] | None:
    """Latitude and longitude, both or none: half a place, or one off the globe, would cost the document.

    Whoever has no place writes 0 for both.
    """
    if None in value:
        return None
    latitude, longitude = (number(one, name, []) for one in value)
    if latitude is None or longitude is None or latitude == longitude == 0:
        return None
    return {"lat": latitude, "lon": longitude} if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def domain(value: Any, _name: str, _problems: Problems) -> str | None:
    """What stands behind the @ of an e-mail address."""
    return value.rpartition("@")[2] or None if value.__class__ is str and "@" in value else None


def local(value: Any, _name: str, _problems: Problems) -> str | None:
    """What stands before the @, or all of a name without one."""
    return value.partition("@")[0] or None if value.__class__ is str else None


def address(value: Any, _name: str, _problems: Problems) -> str | None:
    """An e-mail address, and nothing where it is none."""
    return value if value.__class__ is str and "@" in value[1:-1] else None


def split(value: Any, name: str, problems: Problems) -> list[str] | None:
    """The parts of a text parted by commas."""
    found = text(value, name, problems)
    parts = found.split(",") if isinstance(found, str) else found or ()
    return [part.strip() for part in parts if part.strip()] or None


def braces(value: Any, name: str, problems: Problems) -> dict[str, str] | None:
    """An object written as text, `{key=value, other=1, 2}`; another text becomes the object's member `original`."""
    if value.__class__ is dict:
        return sound(value) or None
    if value.__class__ is not str:
        misfit(value, name, "an object", problems)
        return None
    if not (value.startswith("{") and value.endswith("}")):
        return {"original": value} if value else None
    found: dict[str, str] = {}
    last = ""
    for part in value[1:-1].split(", "):
        key, equals, word = part.partition("=")
        if equals and key.strip():
            last = key.strip()
            found[last] = word
        elif last:
            found[last] += f", {part}"
    return sound(found) or None


def json(value: Any, name: str, problems: Problems) -> Any:
    """An object written as JSON in a text; another text is read as `braces` does."""
    if value.__class__ is str and value.startswith("{"):
        with suppress(ValueError):
            value = orjson.loads(value)
    return braces(value, name, problems)


def positive(value: Any, name: str, problems: Problems) -> list[str] | None:
    """The names of Okta's behaviours that were seen."""
    found = braces(value, name, problems)
    return [key for key, word in found.items() if word == "POSITIVE"] or None if isinstance(found, dict) else None


def level(value: Any, name: str, problems: Problems) -> str | None:
    found = braces(value, name, problems)
    return _member(found, "level")


def reasons(value: Any, name: str, problems: Problems) -> list[str] | None:
    found = _member(braces(value, name, problems), "reasons")
    return split(found, name, problems) if found else None


def _member(found: Any, key: str) -> str | None:
    word = found.get(key) if isinstance(found, dict) else None
    return word or None if isinstance(word, str) else None


def whole(value: Any, name: str, problems: Problems) -> Any:
    """An object as it is, with the vendor's keys; empty lists and objects stay."""
    if value.__class__ is dict:
        return sound(value)
    if value.__class__ is list:  # SailPoint's public identities: [{"key": ..., "value": ...}]
        pairs = (one for one in value if one.__class__ is dict and one.get("key").__class__ is str)
        return sound({one["key"]: one.get("value") for one in pairs if one.get("value") is not None}) or None
    misfit(value, name, "an object", problems)
    return None


def snake(value: Any, name: str, problems: Problems) -> Any:
    """An object with its keys in snake_case at all depths, without what is empty."""
    if value.__class__ is dict:
        return snaked(value)
    misfit(value, name, "an object", problems)
    return None


def listing(value: Any, _name: str, _problems: Problems) -> Any:
    """A list or an object of whatever shape, its keys in snake_case."""
    return snaked(value)


def plain(value: Any, _name: str, _problems: Problems) -> Any:
    """Whatever it is, as it is, unless it is empty."""
    return cleaned(value)


def members(value: Any, name: str, problems: Problems) -> Any:
    """An object with the vendor's keys, without what is empty."""
    if value.__class__ is dict:
        return cleaned(value)
    misfit(value, name, "an object", problems)
    return None


def url(value: Any, name: str, problems: Problems) -> dict[str, Any] | None:
    """The parts of a URL; one without a scheme begins with its host."""
    original = text(value, name, problems)
    if not isinstance(original, str):
        return None
    scheme, has_scheme, rest = original.partition("://")
    rest, _, fragment = (rest if has_scheme else original).partition("#")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    host, port = _host_and_port(authority.rpartition("@")[2])
    found = (
        ("original", original),
        ("scheme", scheme.lower() if has_scheme else ""),
        ("domain", host.lower()),
        ("path", slash + path),
        ("query", query),
        ("fragment", fragment),
    )
    parts: dict[str, Any] = {key: part for key, part in found if part}
    if not port:
        return parts
    if port.isascii() and port.isdecimal() and int(port[:6]) < 65536:
        parts["port"] = int(port)
    else:
        misfit(original, name, "a URL", problems)
    return parts


def _host_and_port(authority: str) -> tuple[str, str]:
    if authority.startswith("["):
        host, closed, behind = authority[1:].partition("]")
        return host, behind.removeprefix(":") if closed else "["
    host, _, port = authority.partition(":")
    return host, port


def user_agent(value: Any, name: str, problems: Problems) -> dict[str, Any] | None:
    original = text(value, name, problems)
    return parse(original) if isinstance(original, str) else None


def _named(*functions: Operation) -> dict[str, Operation]:
    return {function.__name__: function for function in functions}


SCALARS = {
    **_named(text, lower, hyphens, said, split, domain, local, address, number, coordinate, flag, time, ip, mac),
    **_named(plain, whole, listing, braces, json, positive, level, reasons),
}
"""One value to one field."""
UNIONS = _named(texts, ips, addresses, macs, common_names, joined, point)
"""All values of all sources to one field."""
MERGED = _named(url, user_agent, snake, members)
"""One value to the members of an object."""
OPERATIONS = frozenset({"constant", "rest", *SCALARS, *UNIONS, *MERGED})
"""`constant` takes no value, `rest` all members of an object that have no row of their own."""
