"""What a run trains: adapters beside the network, or the network's own weights."""
