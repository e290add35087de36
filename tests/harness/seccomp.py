"""Filters of system calls (seccomp(2)) as service managers and container engines put them on a process, by libseccomp,
which both of them use."""

import ctypes
import json
import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_COMPARISONS = {"SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5,
                "SCMP_CMP_GT": 6, "SCMP_CMP_MASKED_EQ": 7}
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]

IO_URING = ["io_uring_enter", "io_uring_register", "io_uring_setup"]


class _Comparison(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operation", ctypes.c_int), ("value", ctypes.c_uint64),
                ("value_two", ctypes.c_uint64)]


class Filter:
    """What is not allowed fails with `errno`."""

    def __init__(self, errno: int = 1) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._default = _ERRNO | errno
        self._context = ctypes.c_void_p(self._library.seccomp_init(self._default))
        assert self._context

    def rule(self, names: Iterable[str], action: int = _ALLOW, comparisons: Iterable[_Comparison] = ()) -> None:
        """Of calls by name; names that this kernel's architecture does not have are left out."""
        array = (_Comparison * len(comparisons := list(comparisons)))(*comparisons)
        for name in names:
            number = self._library.seccomp_syscall_resolve_name(name.encode())
            if number >= 0 and action != self._default:
                code = self._library.seccomp_rule_add_array(
                    self._context, ctypes.c_uint32(action), number, len(array), array)
                assert code == 0, f"{name}: {os.strerror(-code)}"

    @property
    def load(self) -> Callable[[], None]:
        """Puts it on the calling process for good: between fork and exec."""
        return lambda: self._library.seccomp_load(self._context)


def of_unit(setting: str) -> Filter:
    """Of a unit's SystemCallFilter=, which names one of systemd's groups."""
    found = Filter()
    groups, seen = [setting], set()
    while groups:
        seen.add(group := groups.pop())
        listed = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
        names = [line.strip() for line in listed.stdout.splitlines()[1:] if line and not line.strip().startswith("#")]
        groups += [name for name in names if name.startswith("@") and name not in seen]
        found.rule(name for name in names if not name.startswith("@"))
    return found


def _holds(condition: dict) -> bool:
    """Of a container without capabilities on this host."""
    kernel = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    least = tuple(int(part) for part in condition.get("minKernel", "0.0").split("."))
    return not condition.get("caps") and kernel >= least and _ARCHITECTURE in condition.get("arches", [_ARCHITECTURE])


def _excludes(condition: dict) -> bool:
    return _ARCHITECTURE in condition.get("arches", [])


def of_container(profile: Path, without: Iterable[str] = ()) -> Filter:
    """Of a profile in Docker's format, for a container without capabilities; `without` these calls."""
    parsed = json.loads(profile.read_text(encoding="utf-8"))
    assert parsed["defaultAction"] == "SCMP_ACT_ERRNO"
    found = Filter(parsed["defaultErrnoRet"])
    for rule in parsed["syscalls"]:
        if not _holds(rule.get("includes", {})) or _excludes(rule.get("excludes", {})):
            continue
        action = {"SCMP_ACT_ALLOW": _ALLOW, "SCMP_ACT_ERRNO": _ERRNO | rule.get("errnoRet", 1)}[rule["action"]]
        comparisons = [_Comparison(each["index"], _COMPARISONS[each["op"]], each["value"], each.get("valueTwo", 0))
                       for each in rule.get("args", [])]
        found.rule((name for name in rule["names"] if name not in without), action, comparisons)
    return found
