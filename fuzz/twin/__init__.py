"""The twin: GPU kernels executed on a CPU, asynchrony included. A model of the hardware, not the hardware."""
