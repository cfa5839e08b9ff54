"""What outlives the process: the embedded database, its schema, and the flusher that writes behind the tick."""
