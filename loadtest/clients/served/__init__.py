"""The upstreams that the clients' calls end at."""
