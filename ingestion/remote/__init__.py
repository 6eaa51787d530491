"""Files behind URLs, through fsspec. Only `ingestion.discovery` imports it, when it meets a URL."""
