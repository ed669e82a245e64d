"""Backups as files: the archive, and its encryption."""
