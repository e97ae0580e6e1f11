"""What travels and what is configured: frozen structs, their decoders and their faults. No I/O."""
