//! What a reload can't change: settings that threads, sockets and files were made of at the start.
//!
//! Every setting is named here, on one side or the other: one that is added without saying where it belongs doesn't compile.

use keyward_config::{AccessLog, GatewayConfig, Listen};

/// The settings that differ and that only a restart changes, as they are written in the file.
#[must_use]
pub fn changed(before: &GatewayConfig, after: &GatewayConfig) -> Vec<&'static str> {
    let Listen {
        proxy,
        admin,
        authz,
        // Asked of every new connection.
        proxy_protocol: _,
        tls: _,
    } = &before.listen;
    let GatewayConfig {
        id,
        listen: _,
        control_plane,
        digest_key_file,
        replica_path,
        ledger_path,
        ledger_sync_interval,
        ledger_max_size,
        cache_entries,
        staleness,
        limiter,
        workers,
        access_log,
        // What calls go by: a reload changes it.
        trusted_proxies: _,
        credentials: _,
        timeouts: _,
        bounds: _,
        drain: _,
        documentation_url: _,
        identity: _,
        upstreams: _,
        routes: _,
    } = before;
    let AccessLog {
        path: log_path,
        // Asked of every call when it ends.
        sample: _,
        refusals: _,
    } = access_log;
    let settings = [
        ("gateway.id", *id != after.id),
        ("listen.proxy", *proxy != after.listen.proxy),
        ("listen.admin", *admin != after.listen.admin),
        ("listen.authz", *authz != after.listen.authz),
        ("control_plane", *control_plane != after.control_plane),
        (
            "secrets.digest_key_file",
            *digest_key_file != after.digest_key_file,
        ),
        ("replica.path", *replica_path != after.replica_path),
        ("ledger.path", *ledger_path != after.ledger_path),
        (
            "ledger.sync_interval",
            *ledger_sync_interval != after.ledger_sync_interval,
        ),
        ("ledger.max_size", *ledger_max_size != after.ledger_max_size),
        ("cache.entries", *cache_entries != after.cache_entries),
        ("sync", *staleness != after.staleness),
        ("limiter", *limiter != after.limiter),
        ("workers", *workers != after.workers),
        ("access_log.path", *log_path != after.access_log.path),
    ];
    let differs = settings.into_iter().filter(|(_, differs)| *differs);
    differs.map(|(name, _)| name).collect()
}
