"""Run a command with the network cut off: `python cut.py COMMAND …`. Only the machine talking to itself still works.

Uses a network namespace of Linux in which loopback alone is up. Ends with exit code 3, and runs nothing, where the
system does not allow that; tests/offline/sitecustomize.py is the guard for such systems.
"""

import ctypes
import os
import socket
import struct
import sys

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def cut():
    """Move this process into a new network namespace. Raises OSError or AttributeError where that is not allowed."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):  # root may; others may inside a user namespace of their own
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare is not allowed")
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        import fcntl  # not on Windows

        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


if __name__ == "__main__":
    try:
        cut()
    except (OSError, AttributeError, TypeError) as error:
        print(f"cut.py: no network namespace here: {error}", file=sys.stderr)
        sys.exit(3)
    os.execvp(sys.argv[1], sys.argv[1:])
