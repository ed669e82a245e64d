"""The HTTP face of the registry: Nomad's Volumes API, as the contract describes it."""
