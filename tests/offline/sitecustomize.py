"""On PYTHONPATH, this keeps every Python process from reaching another machine. Its own stays reachable."""

import ipaddress
import socket


def _refuse(address):
    raise OSError(f"Tests run with the network cut off, but something tried to reach {address}. Use helpers.data.")


def _local(host):
    if host in (None, "", "localhost", b"localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        return False


def _guard(name):
    original = getattr(socket.socket, name)

    def guarded(self, *args):
        address = args[-1]
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _local(address[0]):
            _refuse(address[0])
        return original(self, *args)

    setattr(socket.socket, name, guarded)


def _lookup(host, *args, **kwargs):
    if not _local(host):
        _refuse(host)
    return _getaddrinfo(host, *args, **kwargs)


for _name in ("connect", "connect_ex", "sendto"):
    _guard(_name)
_getaddrinfo, socket.getaddrinfo = socket.getaddrinfo, _lookup
