"""volstore: a highly available registry of CSI storage volumes."""
