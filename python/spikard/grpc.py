"""What a gRPC handler is made of. The transport is not part of this version.

An application with gRPC services says so when it starts: `NotAvailableError`, not silence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["GrpcHandler", "GrpcRequest", "GrpcResponse", "GrpcService"]


@dataclass(slots=True)
class GrpcRequest:
    """One message of a call.

    Attributes:
        payload: The serialized message.
        method_name: Name of the method, without the service.
        service_name: Fully qualified name of the service.
        metadata: What came with the call; names in lower case.
    """

    payload: bytes
    method_name: str
    service_name: str
    metadata: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class GrpcResponse:
    """One message of an answer and the metadata that goes with it."""

    payload: bytes
    metadata: dict[str, str] | None = None


class GrpcHandler:
    """A service: override the method of each kind of call that it offers."""

    async def handle_request(self, request: GrpcRequest) -> GrpcResponse:
        """Answer a unary call."""
        raise NotImplementedError

    def handle_server_stream(self, request: GrpcRequest) -> AsyncIterator[GrpcResponse]:
        """Answer one message with a stream."""
        raise NotImplementedError

    async def handle_client_stream(
        self, request_stream: AsyncIterator[GrpcRequest]
    ) -> GrpcResponse:
        """Answer a stream with one message."""
        raise NotImplementedError

    def handle_bidi_stream(
        self, request_stream: AsyncIterator[GrpcRequest]
    ) -> AsyncIterator[GrpcResponse]:
        """Answer a stream with a stream."""
        raise NotImplementedError


class GrpcService:
    """Handlers by the name of their service, to be registered together.

    Attributes:
        services: Handler and kinds of methods (`{"Get": "unary"}`) by fully qualified name.
    """

    def __init__(self) -> None:
        self.services: dict[str, tuple[GrpcHandler, dict[str, str]]] = {}

    def register(
        self, service_name: str, handler: GrpcHandler, *, methods: dict[str, str] | None = None
    ) -> GrpcService:
        """Add a handler and return the service.

        Raises:
            ValueError: The name is taken.
        """
        if service_name in self.services:
            raise ValueError(f"gRPC service {service_name!r} is registered already")
        self.services[service_name] = (handler, dict(methods or {}))
        return self
