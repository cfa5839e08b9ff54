"""What goes over the wire: messages, their bytes, and the codes of refusal. No I/O, nothing else of ours."""
