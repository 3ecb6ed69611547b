//! The messages of Envoy's external authorization and of gRPC's health checks, generated from `proto/`. They hold keys in
//! clear text, and can't be printed.

#![expect(
    missing_docs,
    missing_debug_implementations,
    reason = "generated code; the .proto files are its documentation"
)]

include!(concat!(env!("OUT_DIR"), "/authz.rs"));
