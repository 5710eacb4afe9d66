"""gRPC has its names; what needs the transport says that it is not there."""

from __future__ import annotations

import pytest

from spikard import GrpcHandler, GrpcRequest, GrpcResponse, GrpcService, Spikard, TestClient
from spikard.exceptions import NotAvailableError


class Echo(GrpcHandler):
    async def handle_request(self, request: GrpcRequest) -> GrpcResponse:
        return GrpcResponse(payload=request.payload)


def test_an_application_with_a_grpc_service_is_refused_at_start_up() -> None:
    app = Spikard()
    app.use_grpc(GrpcService().register("demo.Echo", Echo()))
    with pytest.raises(NotAvailableError, match="gRPC services are not available"), TestClient(app):
        pass


def test_a_service_name_is_taken_once() -> None:
    service = GrpcService().register("demo.Echo", Echo())
    with pytest.raises(ValueError, match=r"'demo\.Echo' is registered already"):
        service.register("demo.Echo", Echo())
