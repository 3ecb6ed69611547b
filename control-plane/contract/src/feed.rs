//! The messages of the sync stream and the stubs of its one method, generated from
//! `proto/keyward/sync/v1/sync.proto`. [`crate::record`] turns what arrived into checked records.

#![expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the .proto file is its documentation"
)]

tonic::include_proto!("keyward.sync.v1");

/// The number of this protocol: raised when an old peer could misread a new one.
pub const PROTOCOL: u32 = 1;
