"""The process around the services: health, reflection, the warning in the log, and SIGTERM."""

import gc
import logging
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.support import key_value_contract
from tests.support.ledger import ledger_process, prepare, running
from tests.support.raw_client import position, raw_client


async def test_health_and_the_log_say_what_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = prepare(tmp_path, mspids=("AlphaMSP",))
    with caplog.at_level(logging.WARNING):
        credentials = grpc.ssl_channel_credentials(network.tls_ca)
        async with running(network, contract=key_value_contract.invoke), grpc.aio.secure_channel(network.endpoint, credentials) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert "embedded ledger, for development and trials only" in caplog.text


async def test_the_log_holds_no_arguments_and_no_values(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = prepare(tmp_path, mspids=("AlphaMSP",))
    with caplog.at_level(logging.DEBUG):
        async with running(network, contract=key_value_contract.invoke), raw_client(network, network.identity("AlphaMSP")) as client:
            await client.submit(b"put", b"canary-key", b"canary-value")
            with pytest.raises(grpc.aio.AioRpcError):
                await client.evaluate(client.proposal(b"crash", b"canary-argument"))
    assert "a mistake in the contract" in caplog.text
    assert "canary" not in caplog.text


async def test_no_record_of_the_log_holds_a_server_that_is_being_freed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        grpc.aio.server()  # never started, freed at once
        gc.collect()
    assert not [record for record in caplog.records if "__dealloc__" in record.msg]


async def test_a_process_reflects_its_services_and_ends_on_sigterm(tmp_path: Path) -> None:
    network = prepare(tmp_path, mspids=("AlphaMSP",))
    async with ledger_process(network, key_value=True) as process, raw_client(network, network.identity("AlphaMSP")) as client:
        with grpc.secure_channel(network.endpoint, grpc.ssl_channel_credentials(network.tls_ca)) as channel:
            services = set(ProtoReflectionDescriptorDatabase(channel).get_services())
        assert services >= {"gateway.Gateway", "protos.Deliver", "grpc.health.v1.Health"}
        tx_id, code, number = await client.submit(b"put", b"k", b"v")
        follower = client.deliver.Deliver(iter([client.seek(position(number), position(number + 1))]))
        await follower.read()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    async with running(network, contract=key_value_contract.invoke), raw_client(network, network.identity("AlphaMSP")) as client:
        assert await client.status(tx_id) == (code, number)
