"""The consortium gateway: the processes of hospitals, researchers and auditors, and the command `consortium`."""
