"""The running server: connections, sessions, interest, the loop, and the wiring of it all."""
