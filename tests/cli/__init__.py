"""Tests of the command line, its client, its files and the configuration."""
