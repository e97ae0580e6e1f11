"""How steps are joined and run: one module per dataflow, and the command line."""
