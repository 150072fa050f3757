"""The gateway beside nginx, LiteLLM, Portkey and TensorZero: CPU, latency, memory, large bodies, start."""
