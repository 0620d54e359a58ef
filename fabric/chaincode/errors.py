"""What can go wrong between the chaincode service and a peer."""


class ChaincodeServiceError(Exception):
    """The service cannot start as configured; the message says why and what to change."""


class PeerError(Exception):
    """The peer answered a state request with an error, or its stream ended before it answered."""
