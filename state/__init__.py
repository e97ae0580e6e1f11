"""What is remembered: Redis layout, scripts, sealed values. No policy."""
