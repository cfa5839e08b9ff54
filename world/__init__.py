"""The simulation: a deterministic step over plain data. No socket, no clock, no unseeded chance."""
