"""``touchstream demo``: servers, retailer and flows on this machine, and a page that shows what they do.

One thread does it all: the flows and the retailer are processes of their own, supervised from here; what is
shown is read back from the topics, from Redis and from the flows' metrics, as any operator could.
"""

from flows.demo.command import main

__all__ = ["main"]
