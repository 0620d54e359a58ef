"""The chaincode service's process: listen, run the consortium's contract, drain when told to stop."""

import asyncio
import logging
import signal

from fabric.chaincode.errors import ChaincodeServiceError
from fabric.chaincode.execution import Contract
from fabric.chaincode.server import ChaincodeService
from fabric.contract.entry import FUNCTIONS, invoke
from fabric.devledger.port import is_busy
from gateway.chaincode.config import ChaincodeConfig
from gateway.errors import ConfigError, PortInUse
from gateway.metrics_port import metrics_served

# Less than `consortium network down` and other supervisors wait before they kill a process.
DRAIN_SECONDS = 15.0

log = logging.getLogger(__name__)


async def serve(config: ChaincodeConfig, *, contract: Contract = invoke) -> None:
    """Serve until SIGTERM or SIGINT, then answer the calls that run and end.

    Raises PortInUse, and ConfigError where the address, certificates or key cannot be used.
    """
    listen = config.chaincode.listen
    if is_busy(listen):
        raise PortInUse(f"{listen} is in use by another process; stop that one or change [chaincode] listen")
    service = ChaincodeService(contract, config.settings(), FUNCTIONS)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with metrics_served(service.metrics.registry, config.chaincode.metrics, "[chaincode] metrics"):
        try:
            await service.start()
        except ChaincodeServiceError as error:
            raise ConfigError(str(error)) from error
        log.info("serving chaincode package %s on %s%s", config.chaincode.package_id, listen, "" if config.tls else ", without TLS")
        await stop.wait()
        log.info("stopping: running calls are answered first")
        await service.stop(DRAIN_SECONDS)
