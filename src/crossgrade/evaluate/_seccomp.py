"""A seccomp program for the sandbox: no new processes, no namespaces, no tracing.

Limits on the number of processes do not bind root, and each process would have its own memory
limit; a program that cannot make a second process needs neither. The program is classic BPF
(`man 2 seccomp`, Linux `Documentation/userspace-api/seccomp_filter.rst`), written by hand
because it is twenty instructions long.
"""

import errno
import platform
import struct

_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _FAIL, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
# Offsets into struct seccomp_data: number, architecture, low half of the first argument.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_CLONE_THREAD = 0x00010000
_X32_BIT = 0x40000000

# Architecture constant; clone; what fails with EPERM: fork, vfork, ptrace, unshare, setns, mount,
# keyctl, bpf, perf_event_open, userfaultfd, io_uring_setup.
_TABLES = {
    "x86_64": (0xC000003E, 56, (57, 58, 101, 272, 308, 165, 250, 321, 298, 323, 425)),
    "aarch64": (0xC00000B7, 220, (117, 97, 268, 40, 219, 280, 241, 282, 425)),
}
_CLONE3 = 435


def one_process_filter(machine: str | None = None) -> bytes | None:
    """Return the program for this machine, in the form `bwrap --seccomp` reads; None if unknown.

    Threads stay possible. `clone3` fails with ENOSYS, because its flags are behind a pointer
    that a filter cannot follow, and C libraries then fall back to `clone`.
    """
    table = _TABLES.get(machine or platform.machine())
    if table is None:
        return None
    architecture, clone, forbidden = table
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _FAIL | errno.EPERM),
        (_IF_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
    ]
    for number in forbidden:
        steps += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _FAIL | errno.EPERM)]
    steps += [
        (_IF_EQUAL, 0, 3, clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_IF_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _FAIL | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
