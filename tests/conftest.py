"""What holds for every test of every area."""

from gateway.logs import quieten_grpc

# Tests that look into the log at debug level keep every record, so without this one of them crashes its process when a server that never
# started is collected meanwhile.
quieten_grpc()
