"""What a browser says of itself, read as far as fields want it: its name and version, its system, its device."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_LONGEST = 1024
# The first that matches is meant: nearly all of them call themselves Mozilla, Chrome or Safari as well.
_NAMES = (
    ("Edge", r"\bEdg(?:e|A|iOS)?/([\d.]+)"),
    ("Opera", r"\b(?:OPR|Opera)/([\d.]+)"),
    ("Samsung Internet", r"\bSamsungBrowser/([\d.]+)"),
    ("Chrome Mobile iOS", r"\bCriOS/([\d.]+)"),
    ("Firefox iOS", r"\bFxiOS/([\d.]+)"),
    ("HeadlessChrome", r"\bHeadlessChrome/([\d.]+)"),
    ("Electron", r"\bElectron/([\d.]+)"),
    ("Chrome Mobile", r"\bChrome/([\d.]+) Mobile"),
    ("Chrome", r"\bChrom(?:e|ium)/([\d.]+)"),
    ("Firefox", r"\bFirefox/([\d.]+)"),
    ("IE", r"\b(?:MSIE |Trident/[^)]{0,60}rv:)([\d.]+)"),
    ("Mobile Safari", r"\bVersion/([\d.]+) Mobile/\w+ Safari"),
    ("Safari", r"\bVersion/([\d.]+) Safari"),
    ("Mobile Safari UI/WKWebView", r"\bAppleWebKit/[\d.]+[^/]{0,40}Mobile/(\w*)"),
    ("Python Requests", r"\bpython-requests/([\d.]+)"),
    ("", r"^((?!Mozilla/)[\w .\-]{1,40})/([\d.]+)"),
)
_WINDOWS = {"10.0": "10", "6.3": "8.1", "6.2": "8", "6.1": "7", "6.0": "Vista", "5.1": "XP"}
_SYSTEMS = (
    ("Windows", r"\bWindows NT ([\d.]+)"),
    ("iOS", r"\b(?:iPhone|iPad|iPod)[^)]{0,40} OS ([\d_]+)"),
    ("Android", r"\bAndroid ?([\d.]*)"),
    ("Mac OS X", r"\bMac OS X ?([\d_.]*)"),
    ("Chrome OS", r"\bCrOS \w+ ([\d.]+)"),
    ("Ubuntu", r"\bUbuntu\b/?([\d.]*)"),
    ("Linux", r"\bLinux\b()"),
)
_DEVICES = (("iPhone", "iPhone"), ("iPad", "iPad"), ("Macintosh", "Mac"), ("CrOS", "Chromebook"))
_COMPILED_NAMES = [(name, re.compile(pattern)) for name, pattern in _NAMES]
_COMPILED_SYSTEMS = [(name, re.compile(pattern)) for name, pattern in _SYSTEMS]
_ANDROID_MODEL = re.compile(r"Android [\d.]+; ([^;)]{1,60}?)(?: Build/[^)]{0,60})?\)")


def parse(original: str) -> dict[str, Any]:
    """The members of `user_agent`; the same object for the same text, so nobody may change it."""
    return _parsed(original) if len(original) <= _LONGEST else {**_parsed(original[:_LONGEST]), "original": original}


@lru_cache(2048)
def _parsed(said: str) -> dict[str, Any]:
    found: dict[str, Any] = {"original": said, "name": "Other", "device": {"name": _device(said)}}
    for name, pattern in _COMPILED_NAMES:
        if match := pattern.search(said):
            found["name"], version = (name or match[1]), match[match.re.groups]
            found |= {"version": version} if version else {}
            break
    if system := _system(said):
        found["os"] = system
    return found


def _system(said: str) -> dict[str, str]:
    for name, pattern in _COMPILED_SYSTEMS:
        if match := pattern.search(said):
            version = match[1].replace("_", ".")
            if name == "Windows":
                version = _WINDOWS.get(version, version)
            return {"name": name, **({"version": version, "full": f"{name} {version}"} if version else {"full": name})}
    return {}


def _device(said: str) -> str:
    if match := _ANDROID_MODEL.search(said):
        return match[1]
    return next((name for word, name in _DEVICES if word in said), "Other")
