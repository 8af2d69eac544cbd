"""Where something listens: an IPv4 address of a host, and a port. Pure: no name is looked up."""

from ipaddress import IPv4Address, ip_address

import msgspec

LOCAL = "127.0.0.1"
"""This host, for itself alone."""


class Address(msgspec.Struct, frozen=True, order=True):
    """A place that can be connected to. As text it is what stands in a URL."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def short(self) -> str:
        """For people: the port alone on this host, as most are."""
        return str(self.port) if self.host == LOCAL else str(self)

    def url(self, path: str = "/") -> str:
        return f"http://{self}{path}"


def local(port: int) -> Address:
    """A port of this host."""
    return Address(LOCAL, port)


def is_host(text: str) -> bool:
    """Whether this is the IPv4 address of one host, in the usual way of writing. A name is none: what it stands for can change
    between the approval of a plan and its run."""
    try:
        address = IPv4Address(text)
    except ValueError:
        return False
    return not (address.is_unspecified or address.is_multicast or text == "255.255.255.255")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address certainly is this host's own."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
