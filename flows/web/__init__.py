"""The web service: live screens, the read API, and who may use them."""
