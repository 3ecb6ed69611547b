//! The kinds of lines, and which fields each has.

const EXPORT: &[&str] = &["version", "digest_key"];
const TIER: &[&str] = &[
    "tier",
    "name",
    "annual_price",
    "annual_limit",
    "rate_limit",
    "burst_limit",
    "sla",
];
const CUSTOMER: &[&str] = &[
    "company_name",
    "contact_email",
    "tier",
    "status",
    "contract_start",
    "contract_end",
    "metadata",
    "overrides",
    "sandbox",
    "test_environment_id",
    "test_user_key_limit",
    "production_environment_id",
    "production_user_key_limit",
    "created_at",
    "updated_at",
];
const USER: &[&str] = &[
    "customer",
    "sub",
    "name",
    "email",
    "claims",
    "permissions",
    "created_at",
    "updated_at",
    "deleted_at",
];
const END_CUSTOMER: &[&str] = &[
    "customer",
    "environment",
    "name",
    "rate_limit",
    "burst_limit",
    "created_at",
    "updated_at",
    "deleted_at",
];
const API_KEY: &[&str] = &[
    "customer",
    "end_customer",
    "user",
    "environment",
    "key",
    "digest",
    "mask",
    "name",
    "status",
    "origin",
    "expires_at",
    "allowed_ips",
    "api_version",
    "api_version_changed_at",
    "no_downgrade_after",
    "rotated_at",
    "held_at",
    "created_by",
    "created_at",
    "updated_at",
    "revoked_at",
    "deleted_at",
];

/// The fields that a kind of line has beside `kind`, `ref` and `id`.
pub(super) fn allowed(kind: &str) -> Option<(&'static str, &'static [&'static str])> {
    Some(match kind {
        "export" => ("export", EXPORT),
        "tier" => ("tier", TIER),
        "customer" => ("customer", CUSTOMER),
        "user" => ("user", USER),
        "end_customer" => ("end_customer", END_CUSTOMER),
        "api_key" => ("api_key", API_KEY),
        _ => return None,
    })
}
