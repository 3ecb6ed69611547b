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

/// The highest number of the protocol that this version speaks: raised when an old peer could misread a new one.
/// [`crate::protocol`] has the range.
pub const PROTOCOL: u32 = 1;
