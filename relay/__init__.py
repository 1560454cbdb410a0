"""A mail relay: accepts mail from applications, keeps it safe, hands it to providers."""

__version__ = "0.1.0"
