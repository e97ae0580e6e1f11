"""Whole deployments on real servers: flows as processes, fed, killed, and judged by an independent oracle."""
