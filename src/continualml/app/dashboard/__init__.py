"""The dashboard: pages for people, over HTTP alone."""
