"""Records, benchmarks and the sources of data."""
