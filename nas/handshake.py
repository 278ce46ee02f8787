"""A program that tells whether a Ray cluster answers at an address: exit code 0, or 1 and the reason on stdout.

Ray's own attempts take minutes and cannot be interrupted while they wait. A process can be ended at any time.
:func:`nas.cluster.check_that_it_answers` runs this file with the address as its argument.
"""

import os
import socket
import sys
from contextlib import suppress
from typing import Any

_CLIENT = "ray://"
_PATIENCE_S = 5.0


def shake_hands(address: str) -> None:
    """Return if a Ray cluster answers.

    Args:
        address: ``HOST:PORT`` of a head node, or ``ray://HOST:PORT`` of a Ray client's server.

    Raises:
        Exception: none does; the message is the reason.
    """
    host, port = _host_and_port(address)
    with socket.create_connection((host, port), timeout=_PATIENCE_S):
        pass
    (_ask_client_server if address.startswith(_CLIENT) else _ask_head)(address.removeprefix(_CLIENT))


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError("an address is HOST:PORT, ray://HOST:PORT or auto")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _ask_head(address: str) -> None:
    from ray import _raylet

    client: Any = _raylet  # a compiled module without types
    client.GcsClient(address=address)


def _ask_client_server(address: str) -> None:
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import ray_client_pb2, ray_client_pb2_grpc

    messages: Any = ray_client_pb2  # its classes are made when it is loaded
    services: Any = ray_client_pb2_grpc
    server = services.RayletDriverStub(init_grpc_channel(address))
    question = messages.ClusterInfoRequest(type=messages.ClusterInfoType.PING)
    try:
        server.ClusterInfo(question, timeout=_PATIENCE_S)
    except grpc.RpcError as error:
        raise ConnectionError(f"no Ray client server ({error.code().name.lower()}: {error.details()})") from error


def _found(address: str) -> str:
    """The address that Ray would use for ``auto``; any other as it is."""
    if address != "auto":
        return address
    from ray._private.services import get_ray_address_from_environment

    with suppress(ImportError):  # as ray.init does; releases of Ray before token authentication lack it
        from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    found: str = get_ray_address_from_environment(address, None)
    return found


def main(address: str) -> int:
    """Tell, on stdout, why no cluster answers, and return the exit code."""
    where = ""
    try:
        found = _found(address)
        where = "" if found == address else f"{found}: "
        shake_hands(found)
    except ImportError:  # what Ray lacks, ray.init tells
        return 0
    except Exception as error:
        lines = (getattr(error, "strerror", None) or str(error)).strip().splitlines()
        sys.stdout.write(where + (lines or [type(error).__name__])[0])
        sys.stdout.flush()
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1]))
