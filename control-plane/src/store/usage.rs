//! Usage as the gateways reported it.
