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

    def is_alive():  # One that has ended may stay listed as a zombie.
        try:
            with open("/proc/%s/stat" % pid, "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
                return fields[0] != b"Z" and fields[19].decode() == start_time
        except OSError:
            return False

    if is_alive():
        patches = _patches(int(port), der, is_alive)
        for name in set(patches) & set(sys.modules):
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
        finders = [it for it in sys.meta_path if it is not self and hasattr(it, "find_spec")]
        spec = next(filter(None, (it.find_spec(name, path, target) for it in finders)), None)
        if spec is not None:
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (load(module), _try(patch, module))
        return spec


def _try(patch, module):
    try:
        patch(module)
    except Exception:
        pass  # The program comes first.


def _patches(door, der, is_alive):
    def is_host(host):
        host = bytes(host).decode("latin-1") if isinstance(host, (bytes, bytearray)) else host
        return isinstance(host, str) and host.lower().rstrip(".") == HOST

    def is_ours(host, at):  # Whatever outlives singlepoll has to reach the host itself.
        return is_host(host) and at in (443, "443", b"443", "https") and is_alive()

    def found():
        import socket
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (MARKER, door))]

    def led(address):
        is_led = isinstance(address, tuple) and (address[0] == MARKER or is_ours(*address[:2]))
        # Another program may have its port by now; nobody has port 0.
        return ("127.0.0.1", door if is_alive() else 0) if is_led else address

    def patch_socket(module):
        resolve = module.getaddrinfo
        module.getaddrinfo = lambda host, port, *a, **k: found() if is_ours(host, port) else resolve(host, port, *a, **k)
        for name in ("connect", "connect_ex"):
            real = getattr(module.socket, name)
            setattr(module.socket, name, lambda self, address, _real=real: _real(self, led(address)))

    def patch_ssl(module):
        # PEM: Python before 3.8 reads no DER with OpenSSL 3.
        lines = "\n".join(der[i : i + 64] for i in range(0, len(der), 64))
        authority = "-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n" % lines
        # The number is the place of server_hostname among the arguments.
        for name, place in (("wrap_socket", 4), ("wrap_bio", 3)):

            def wrap(self, *args, _real=getattr(module.SSLContext, name), _place=place, **kwargs):
                if is_host(kwargs.get("server_hostname", (args + (None,) * 5)[_place])):
                    self.load_verify_locations(cadata=authority)
                return _real(self, *args, **kwargs)

            setattr(module.SSLContext, name, wrap)

    def patch_uvloop(module):  # libuv resolves and connects itself.
        connect, resolve = module.Loop.create_connection, module.Loop.getaddrinfo

        def create_connection(self, factory, host=None, port=None, **kwargs):
            if host == MARKER or is_ours(host, port):
                if kwargs.get("ssl") and not kwargs.get("server_hostname"):
                    kwargs["server_hostname"] = HOST
                host, port = led((MARKER, 0))
            return connect(self, factory, host, port, **kwargs)

        async def getaddrinfo(self, host, port, **kwargs):
            return found() if is_ours(host, port) else await resolve(self, host, port, **kwargs)

        module.Loop.create_connection, module.Loop.getaddrinfo = create_connection, getaddrinfo

    def patch_aiohttp(module):  # aiodns resolves itself.
        real = module.AsyncResolver.resolve

        async def resolve(self, host, port=0, family=2):
            if not is_ours(host, port):
                return await real(self, host, port, family)
            return [{"hostname": host, "host": MARKER, "port": door, "family": 2, "proto": 6, "flags": 0}]

        module.AsyncResolver.resolve = resolve

    patches = {"socket": patch_socket, "gevent.socket": patch_socket, "ssl": patch_ssl, "gevent.ssl": patch_ssl}
    return dict(patches, uvloop=patch_uvloop, **{"aiohttp.resolver": patch_aiohttp})
