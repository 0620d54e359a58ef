"""The Fabric Gateway protocol as a client speaks it, one file a stage; `gateway.Gateway` puts the stages together."""
