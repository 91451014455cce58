"""What others need to trust a storage, or to test their own flows: contracts, faults, counters, real servers."""
