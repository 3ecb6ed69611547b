//! `/admin/gateways/{gateway_id}/tokens`

mod create;
mod list;
mod revoke;

const TOKENS: &str = "/admin/gateways/edge-1/tokens";
