"""Volumes on hosts: which node has, gets or loses which, and the controller calls for that."""
