//! TLS: the files that it is made of, and what is made of them between gateways and the control plane, towards partners and
//! towards upstreams.
//!
//! Files are read again when they change ([`Reloading`]): a good new content is in force for what is opened next, a bad
//! one is told once and changes nothing. Certificates are checked by rustls with aws-lc-rs, TLS 1.2 and 1.3.
//! Nothing of a key or a token is in an error. Opens no connection; reads nothing but the files that it is given.

mod client;
mod edge;
mod error;
mod files;
mod names;
mod pem;
mod server;

pub use client::{Purpose, client_config, client_files};
pub use edge::EdgeTls;
pub use error::{FileError, Refused, refused_by_peer};
pub use files::{Reloading, SettingFile, Source, Sources};
pub use names::names_gateway;
pub use server::ServerTls;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// What is spoken over it.
const ALPN: &[u8] = b"h2";

/// The one that the whole program uses.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
