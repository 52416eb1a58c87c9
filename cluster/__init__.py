"""Everything that knows Ray: the driver, the executor, the local stack and the command line."""
