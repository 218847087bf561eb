"""Leads connections to api.telegram.org, port 443, to singlepoll's gateway, and lets TLS trust the gateway for that host alone.

The name is resolved to a marker address, since some libraries keep the address and drop the port (anyio); the marker is never dialled:
`connect` turns it into the gateway's address. A module is patched when the program imports it, never before.
"""
import os
import sys

HOST = "api.telegram.org"
MARKER = "127.83.80.1"


def begin():
    port, pid, start_time, der = os.environ.get("SINGLEPOLL_HOOK", ":::").split(":")
    # Whatever outlives singlepoll has to reach api.telegram.org itself.
    with open("/proc/%s/stat" % pid, "rb") as file:
        if file.read().rpartition(b")")[2].split()[19].decode() != start_time:
            return
    patches = _patches(int(port), der)
    for name in [it for it in patches if it in sys.modules]:
        patches.pop(name)(sys.modules[name])
    sys.meta_path.insert(0, _Finder(patches))


class _Finder:
    """Finds a module as usual, and has it patched once it has been loaded."""

    def __init__(self, patches):
        self.patches = patches

    def find_spec(self, name, path=None, target=None):
        patch = self.patches.pop(name, None)
        if patch is None:
            return None
        for finder in [it for it in sys.meta_path if it is not self and hasattr(it, "find_spec")]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                load = spec.loader.exec_module
                spec.loader.exec_module = lambda module: (load(module), _try(patch, module))
                return spec
        return None


def _try(patch, module):
    try:
        patch(module)
    except Exception:
        pass  # The program comes first.


def _patches(port, der):
    def is_host(host):
        host = bytes(host).decode("latin-1") if isinstance(host, (bytes, bytearray)) else host
        return isinstance(host, str) and host.lower().rstrip(".") == HOST

    def is_ours(host, at):
        return is_host(host) and at in (443, "443", b"443", "https")

    def found(socket):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (MARKER, port))]

    def led(address):
        return ("127.0.0.1", port) if isinstance(address, tuple) and (address[0] == MARKER or is_ours(*address[:2])) else address

    def patch_socket(module):
        import socket

        resolve = module.getaddrinfo
        module.getaddrinfo = lambda host, at, *a, **k: found(socket) if is_ours(host, at) else resolve(host, at, *a, **k)
        for name in ("connect", "connect_ex"):
            real = getattr(module.socket, name)
            setattr(module.socket, name, lambda self, address, _real=real: _real(self, led(address)))

    def patch_ssl(module):
        # PEM: Python before 3.8 reads no DER with OpenSSL 3.
        lines = [der[i : i + 64] for i in range(0, len(der), 64)]
        authority = "\n".join(["-----BEGIN CERTIFICATE-----"] + lines + ["-----END CERTIFICATE-----", ""])
        # The number is the place of server_hostname among the arguments.
        for name, place in (("wrap_socket", 4), ("wrap_bio", 3)):

            def wrap(self, *args, _real=getattr(module.SSLContext, name), _place=place, **kwargs):
                if is_host(kwargs.get("server_hostname", (args + (None,) * 5)[_place])):
                    self.load_verify_locations(cadata=authority)
                return _real(self, *args, **kwargs)

            setattr(module.SSLContext, name, wrap)

    def patch_uvloop(module):  # libuv resolves and connects itself.
        import socket

        connect, resolve = module.Loop.create_connection, module.Loop.getaddrinfo

        def create_connection(self, factory, host=None, port_=None, **kwargs):
            at = kwargs.pop("port", port_)
            if host == MARKER or is_ours(host, at):
                if kwargs.get("ssl") and not kwargs.get("server_hostname"):
                    kwargs["server_hostname"] = HOST
                host, at = "127.0.0.1", port
            return connect(self, factory, host, at, **kwargs)

        async def getaddrinfo(self, host, at, **kwargs):
            return found(socket) if is_ours(host, at) else await resolve(self, host, at, **kwargs)

        module.Loop.create_connection, module.Loop.getaddrinfo = create_connection, getaddrinfo

    def patch_aiohttp(module):  # aiodns resolves itself.
        import socket

        real = module.AsyncResolver.resolve

        async def resolve(self, host, at=0, family=socket.AF_INET):
            if not is_ours(host, at):
                return await real(self, host, at, family)
            flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            return [{"hostname": host, "host": MARKER, "port": port, "family": socket.AF_INET, "proto": 6, "flags": flags}]

        module.AsyncResolver.resolve = resolve

    patches = {"socket": patch_socket, "gevent.socket": patch_socket, "ssl": patch_ssl, "gevent.ssl": patch_ssl}
    return dict(patches, uvloop=patch_uvloop, **{"aiohttp.resolver": patch_aiohttp})
