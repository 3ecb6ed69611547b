//! What standalone's settings mean: both programs' configurations, tied together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::check;
use crate::leaf::name::{FilePath, Name};
use crate::leaf::network::Address;
use crate::leaf::url::{DatabaseUrl, EndpointUrl, SyncUrl};
use crate::report::Report;
use crate::standalone::StandaloneConfig;
use crate::surroundings::Surroundings;
use crate::typed::identity::IdentityTokens;
use crate::typed::standalone::{Listen, Standalone};
use crate::typed::{control_plane, gateway, route, upstream};

/// What standalone is told beside its file.
pub(crate) struct Arguments<'a> {
    /// `--data-dir`.
    pub(crate) data_dir: &'a Path,
    /// `--listen-offset`.
    pub(crate) listen_offset: u16,
}

/// Checks everything.
pub(crate) fn standalone(
    mut typed: Standalone,
    arguments: &Arguments<'_>,
    surroundings: &Surroundings,
    report: &mut Report<'_>,
) -> StandaloneConfig {
    check_data_dir(arguments.data_dir, report);
    move_ports(&mut typed.listen, arguments.listen_offset, report);
    let listen = &typed.listen;
    let mut listeners = vec![
        ("listen.proxy", listen.proxy.0),
        ("listen.gateway_admin", listen.gateway_admin.0),
        ("listen.api", listen.api.0),
        ("listen.sync", listen.sync.0),
        ("listen.control_plane_admin", listen.control_plane_admin.0),
    ];
    let upstream_listen = if typed.upstreams.is_empty() && !report.anything_cut_in("upstreams") {
        let address = listen.upstream.0;
        typed.upstreams.push(sample(address));
        listeners.push(("listen.upstream", address));
        Some(address)
    } else {
        None
    };
    check::listeners(&listeners, report);
    if typed.routes.is_empty() && typed.upstreams.len() == 1 {
        typed.routes.push(route::Route::default());
    }
    let (gateway, control_plane) = split(typed, arguments.data_dir);
    let gateway = check::gateway::gateway(gateway, surroundings, report);
    let control_plane = check::control_plane::control_plane(control_plane, report);
    let config = StandaloneConfig {
        gateway,
        control_plane,
        upstream_listen,
        data_dir: arguments.data_dir.to_owned(),
    };
    check_costs(&config, report);
    config
}

fn check_data_dir(data_dir: &Path, report: &mut Report<'_>) {
    match data_dir.to_str() {
        None => report.argument("--data-dir", "is no UTF-8 text; use another folder"),
        Some("") => report.argument("--data-dir", "is empty; write a folder, such as ./keyward-data"),
        // They mean something else in the database's address.
        Some(text) => {
            if let Some(odd) = text.chars().find(|c| matches!(c, '?' | '%' | '#')) {
                report.argument(
                    "--data-dir",
                    format!("{text} has a {odd} in it; use another folder"),
                );
            }
        }
    }
}

fn move_ports(listen: &mut Listen, offset: u16, report: &mut Report<'_>) {
    let addresses: [(&str, &mut Address); 6] = [
        ("listen.proxy", &mut listen.proxy),
        ("listen.gateway_admin", &mut listen.gateway_admin),
        ("listen.api", &mut listen.api),
        ("listen.sync", &mut listen.sync),
        ("listen.control_plane_admin", &mut listen.control_plane_admin),
        ("listen.upstream", &mut listen.upstream),
    ];
    for (path, Address(address)) in addresses {
        // Port 0 is any free port, and stays so.
        if address.port() == 0 {
            continue;
        }
        match address.port().checked_add(offset) {
            Some(port) => address.set_port(port),
            None => {
                let message = format!("{offset} moves {path} from {} beyond port 65535", address.port());
                report.argument("--listen-offset", message);
            }
        }
    }
}

fn sample(address: SocketAddr) -> upstream::Upstream {
    upstream::Upstream {
        name: Some(Name("sample".to_owned())),
        endpoints: vec![EndpointUrl::plain(endpoint(address))],
        ..upstream::Upstream::default()
    }
}

fn endpoint(address: SocketAddr) -> crate::gateway::Endpoint {
    let address = reachable(address);
    crate::gateway::Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
    }
}

/// The address at which a listener on this machine is reached.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn split(typed: Standalone, data_dir: &Path) -> (gateway::Gateway, control_plane::ControlPlane) {
    let file = |name: &str| FilePath(data_dir.join(name));
    let buckets = buckets(&typed.limiter);
    let gateway = gateway::Gateway {
        workers: typed.workers,
        trusted_proxies: typed.trusted_proxies,
        listen: gateway::Listen {
            proxy: typed.listen.proxy,
            admin: typed.listen.gateway_admin,
            ..gateway::Listen::default()
        },
        gateway: typed.gateway,
        control_plane: gateway::Link {
            urls: vec![SyncUrl::plain(endpoint(typed.listen.sync.0))],
            token_file: file("secrets/gateway-token"),
            tls: None,
        },
        secrets: gateway::Secrets {
            digest_key_file: Some(file("secrets/digest-key")),
        },
        replica: gateway::Replica {
            path: file("gateway/replica"),
        },
        ledger: gateway::Ledger {
            path: file("gateway/ledger"),
            sync_interval: typed.ledger.sync_interval,
            max_size: typed.ledger.max_size,
        },
        cache: typed.cache,
        sync: typed.sync,
        limiter: typed.limiter,
        credentials: typed.credentials,
        timeouts: typed.timeouts,
        bounds: typed.bounds,
        drain: typed.drain,
        access_log: typed.access_log,
        errors: gateway::Errors {
            documentation_url: typed.errors.documentation_url.clone(),
        },
        identity: IdentityTokens {
            key_file: file("gateway/identity.pem"),
            other_key_files: Vec::new(),
            issuer: typed.identity.issuer,
            audience: typed.identity.audience,
            lifetime: typed.identity.lifetime,
        },
        upstreams: typed.upstreams,
        routes: typed.routes,
    };
    let control_plane = control_plane::ControlPlane {
        listen: control_plane::Listen {
            api: typed.listen.api,
            sync: typed.listen.sync,
            admin: typed.listen.control_plane_admin,
            tls: None,
        },
        database: control_plane::Database {
            url: DatabaseUrl::plain(format!(
                "sqlite://{}",
                data_dir.join("control-plane.db").display()
            )),
            password_file: None,
        },
        secrets: control_plane::Secrets {
            master_key_file: file("secrets/master-key"),
            digest_key_file: file("secrets/digest-key"),
            gateway_token_file: file("secrets/gateway-token"),
        },
        propagation: typed.propagation,
        sync: control_plane::Sync::default(),
        limiter: buckets,
        auth: typed.auth,
        rules: typed.rules,
        leaks: typed.leaks,
        usage: typed.usage,
        management_limits: typed.management_limits,
        errors: typed.errors,
        tiers: typed.tiers,
    };
    (gateway, control_plane)
}

/// The control plane looks into the buckets that the gateway takes from. What is wrong with them is the gateway's to say.
fn buckets(limiter: &gateway::Limiter) -> control_plane::Limiter {
    if limiter.redis.is_none() {
        return control_plane::Limiter::default();
    }
    control_plane::Limiter {
        redis: limiter.redis.clone(),
        redis_username: limiter.redis_username.clone(),
        redis_password_file: limiter.redis_password_file.clone(),
    }
}

/// A call that costs more than a bucket can ever hold could never pass.
fn check_costs(config: &StandaloneConfig, report: &mut Report<'_>) {
    let Some(smallest) = config
        .control_plane
        .tiers
        .iter()
        .min_by_key(|tier| tier.burst_limit)
    else {
        return;
    };
    for (index, route) in config.gateway.routes.iter().enumerate() {
        if route.cost > smallest.burst_limit {
            report.wrong(
                &format!("routes[{index}].cost"),
                format!(
                    "{} is more than the {} that tier {} may spend at once; no call of it could pass",
                    route.cost, smallest.burst_limit, smallest.key
                ),
            );
        }
    }
}
