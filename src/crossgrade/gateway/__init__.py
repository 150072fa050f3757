"""The data plane: one process a core between clients and providers."""
