//! The promises, on whole systems: real processes, real sockets, real files. One file per promise.
//!
//! Every test has a folder, ports and processes of its own, so that all of them can run at once.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can not go on must fail where it stands"
)]

mod api;
mod busy_upstream;
mod fleet;
mod load;
mod relay;
mod stack;
mod wire;

mod authz;
mod bad_input_changes_nothing;
mod control_plane_away;
mod cut;
mod cut_link;
mod explain;
mod flood_of_unknown_keys;
mod full_disk;
mod keys_of_every_surface;
mod lifecycle;
mod link;
mod mass_deletion;
mod no_secret_leaves;
mod portal;
mod propagation_is_measured;
mod quota_is_exact;
mod redis_faults;
mod revocation;
mod scan;
mod shared_limits;
mod standalone;
mod sync_under_load;
mod ten_thousand_keys;
mod two_control_planes;
mod usage_survives_kill;
mod user_keys;
