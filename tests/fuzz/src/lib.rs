//! What is fuzzed: one module for each reader of bytes from outside, each with what must hold of any bytes at all. `check`
//! panics when it does not.
//!
//! Compiled twice: by cargo-fuzz, whose programs are in `fuzz_targets/`, and by the suite (`tests/fuzz/seeds.rs`),
//! which tries each kept seed. A target takes nothing but its bytes, and the same bytes always mean the same.

pub mod access_log_lines;
pub mod address_lists;
pub mod answer_chunks;
pub mod answer_heads;
pub mod client_addresses;
pub mod client_streams;
mod configuration;
pub mod control_plane_configuration;
pub mod cors_calls;
pub mod credentials;
pub mod envoy_questions;
pub mod forward_auth;
pub mod forwarded_heads;
pub mod found_keys;
pub mod gateway_configuration;
pub mod header_rules;
pub mod http2_frames;
pub mod import_lines;
pub mod issuer_tokens;
pub mod json_bodies;
mod key_set;
pub mod ledger_files;
pub mod paths;
pub mod plain_keys;
pub mod proxy_protocol;
pub mod redis_replies;
pub mod replica_files;
pub mod request_heads;
pub mod standalone_configuration;
pub mod sync_records;
pub mod sync_streams;
mod told_heads;
pub mod trailers;
pub mod validate_questions;
pub mod websocket_frames;

/// A target: its name, and what is done with any bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, by the names of `fuzz_targets/` and `seeds/`.
pub const TARGETS: [Target; 32] = [
    ("access_log_lines", access_log_lines::check),
    ("address_lists", address_lists::check),
    ("answer_chunks", answer_chunks::check),
    ("answer_heads", answer_heads::check),
    ("client_addresses", client_addresses::check),
    ("client_streams", client_streams::check),
    ("control_plane_configuration", control_plane_configuration::check),
    ("cors_calls", cors_calls::check),
    ("credentials", credentials::check),
    ("envoy_questions", envoy_questions::check),
    ("forward_auth", forward_auth::check),
    ("forwarded_heads", forwarded_heads::check),
    ("found_keys", found_keys::check),
    ("gateway_configuration", gateway_configuration::check),
    ("header_rules", header_rules::check),
    ("http2_frames", http2_frames::check),
    ("import_lines", import_lines::check),
    ("issuer_tokens", issuer_tokens::check),
    ("json_bodies", json_bodies::check),
    ("ledger_files", ledger_files::check),
    ("paths", paths::check),
    ("plain_keys", plain_keys::check),
    ("proxy_protocol", proxy_protocol::check),
    ("redis_replies", redis_replies::check),
    ("replica_files", replica_files::check),
    ("request_heads", request_heads::check),
    ("standalone_configuration", standalone_configuration::check),
    ("sync_records", sync_records::check),
    ("sync_streams", sync_streams::check),
    ("trailers", trailers::check),
    ("validate_questions", validate_questions::check),
    ("websocket_frames", websocket_frames::check),
];

/// A folder in memory, where there is one: else most of the time would be waiting for a disk.
fn folder(what: &str) -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let mut named = tempfile::Builder::new();
    named.prefix(what);
    let made = if memory.is_dir() {
        named.tempdir_in(memory)
    } else {
        named.tempdir()
    };
    made.unwrap_or_else(|error| panic!("no folder: {error}"))
}
