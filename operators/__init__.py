"""What happens: plain functions over plain data, and the thin Bytewax operators around them."""
