"""The channel's configuration as it is now, read from the ledger's own blocks."""

from dataclasses import dataclass

from fabric_protos.common import common_pb2, configtx_pb2

from fabric.channel import ChannelConfig, config_of
from fabric.client.gateway import Gateway


@dataclass(frozen=True)
class CurrentChannel:
    """The configuration in force: parsed, and the envelope it was parsed from. `height` is the ledger's when it was read."""

    config: ChannelConfig
    envelope: bytes
    height: int

    @property
    def group(self) -> configtx_pb2.ConfigGroup:
        return config_of(self.envelope).config.channel_group


async def read_channel(ledger: Gateway) -> CurrentChannel:
    """Read the newest configuration block that the peer has. Raises LedgerError or ChannelConfigError."""
    height = await ledger.height()
    newest = await _block(ledger, height - 1)
    signatures = common_pb2.Metadata.FromString(newest.metadata.metadata[common_pb2.SIGNATURES])
    last_config = common_pb2.OrdererBlockMetadata.FromString(signatures.value).last_config.index
    envelope = (await _block(ledger, last_config)).data.data[0]
    return CurrentChannel(ChannelConfig.parse(envelope), envelope, height)


async def _block(ledger: Gateway, number: int) -> common_pb2.Block:
    return await anext(aiter(ledger.blocks(start=number, stop=number)))
