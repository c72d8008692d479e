"""Runs a program under limits; started as a script of its own, with nothing but the stdlib.

``python -I -S launcher.py RULES PROGRAM [ARGUMENT ...]``, where RULES is JSON: ``limits`` (resource
names of :mod:`resource` without ``RLIMIT_``, and their values), ``readable`` (folders that it may
read), ``writable`` (folders that it may write), ``ports`` (of this host that it may connect to) and
``processes`` (whether it may start any). They are set here and not in a ``preexec_fn``, which may
deadlock in a process with threads.

Limits always hold. On Linux two more barriers are put up as far as the kernel offers them, without
any privilege: seccomp (no processes, no sockets but TCP, no signals to others), and Landlock (no
files but those named, from Linux 5.13 on; no connections but to those ports, from 6.7 on).
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import struct
import sys
from contextlib import suppress
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    """Set the limits and become the program."""
    rules = json.loads(sys.argv[1])
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        with suppress(OSError):  # whatever runs out of memory, let it be this
            _write("/proc/self/oom_score_adj", b"1000")
        _restrict(libc, rules)
    for name, value in rules["limits"].items():
        kind = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(kind)
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # Processor time that is over is told by a signal of its own, and by a kill a second later.
        last = limit + (name == "CPU" and hard == resource.RLIM_INFINITY)
        try:
            resource.setrlimit(kind, (limit, last))
        except (OSError, ValueError):
            if sys.platform == "linux":  # elsewhere some limits exist in name only
                raise
    if sys.platform == "linux":
        _filter_calls(libc, processes=rules["processes"])
    os.execve(sys.argv[2], sys.argv[2:], {})  # noqa: S606 - no shell is the point


def _write(path: str, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY)
    os.write(file, data)
    os.close(file)


# Landlock: https://docs.kernel.org/userspace-api/landlock.html

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH, _NET_PORT = 1, 2
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_CONNECT_TCP, _BIND_OR_CONNECT_TCP = 2, 3
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""Number of rights by version of Landlock; 16 in all later ones."""
_FIRST_WITH_PORTS, _FIRST_WITH_SCOPES = 4, 6
_ABSTRACT_SOCKETS_AND_SIGNALS = 3


def _restrict(libc: Any, rules: dict[str, Any]) -> None:
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return
    every = (1 << _FILE_RIGHTS.get(version, 16)) - 1
    handled = struct.pack("Q", every)
    if version >= _FIRST_WITH_PORTS:
        handled += struct.pack("Q", _BIND_OR_CONNECT_TCP)
    if version >= _FIRST_WITH_SCOPES:
        handled += struct.pack("Q", _ABSTRACT_SOCKETS_AND_SIGNALS)
    ruleset = libc.syscall(_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    if ruleset < 0:
        return
    allowed = [(path, _READ) for path in rules["readable"]]
    allowed += [(path, every) for path in rules["writable"]]
    allowed += [
        ("/proc/self", _READ),
        ("/dev/null", _READ_FILE | _WRITE_FILE),
        ("/dev/urandom", _READ_FILE),
    ]
    for path, rights in allowed:
        with suppress(FileNotFoundError):
            file = os.open(path, os.O_PATH)
            libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, file), 0)
            os.close(file)
    if version >= _FIRST_WITH_PORTS:
        for port in rules["ports"]:
            libc.syscall(_ADD_RULE, ruleset, _NET_PORT, struct.pack("QQ", _CONNECT_TCP, port), 0)
    libc.syscall(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


# seccomp: https://docs.kernel.org/userspace-api/seccomp_filter.html

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the table below, and what the kernel calls the machine (``AUDIT_ARCH``)."""

_CLONE, _TGKILL, _SOCKET, _CLONE3 = (56, 220), (234, 131), (41, 198), (435, 435)

_START = {"fork": (57, None), "vfork": (58, None)}

_REFUSED = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),  # its work passes by all filters
    "keyctl": (250, 219),
    "kill": (62, 129),
    "mount": (165, 40),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "request_key": (249, 218),
    "setns": (308, 268),
    "tkill": (200, 130),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
"""Numbers of the system calls on both machines."""

_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_NUMBER, _MACHINE, _FIRST, _SECOND = 0, 4, 16, 24
"""Where the filter finds the number of the call, the machine, and the arguments."""

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_KILL = 0x80000000
_X32 = 0x40000000
_CLONE_THREAD = 0x10000
_AF_INET, _SOCK_STREAM, _SOCK_TYPES = 2, 1, 0xF


def _filter_calls(libc: Any, *, processes: bool) -> None:
    if platform.machine() not in _MACHINES:
        return
    column, machine = _MACHINES[platform.machine()]
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    program = [
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 1, 0, machine),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        refuse,
    ]
    for numbers in [*_REFUSED.values(), *(() if processes else _START.values())]:
        if (number := numbers[column]) is not None:
            program += [(_EQUAL, 0, 1, number), refuse]
    if not processes:
        # Its flags are behind a pointer, so libraries are told to use the older call.
        program += [(_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
        program += [
            (_EQUAL, 0, 4, _CLONE[column]),
            (_LOAD, 0, 0, _FIRST),
            (_ANY_BIT, 1, 0, _CLONE_THREAD),
            refuse,
            allow,
        ]
    program += [
        (_EQUAL, 0, 4, _TGKILL[column]),
        (_LOAD, 0, 0, _FIRST),
        (_EQUAL, 1, 0, os.getpid()),
        refuse,
        allow,
        (_EQUAL, 0, 7, _SOCKET[column]),
        (_LOAD, 0, 0, _FIRST),
        (_EQUAL, 0, 3, _AF_INET),
        (_LOAD, 0, 0, _SECOND),
        (_AND, 0, 0, _SOCK_TYPES),
        (_EQUAL, 1, 0, _SOCK_STREAM),
        (_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT),
        allow,
        allow,
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    head = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
    libc.prctl(_PR_SET_SECCOMP, 2, head, 0, 0)


if __name__ == "__main__":
    main()
