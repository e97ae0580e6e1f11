"""One job in several engines, to compare what an event costs: see README.md."""
